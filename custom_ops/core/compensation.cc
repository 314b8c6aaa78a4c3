#include "core/compensation.h"

#include <algorithm>
#include <new>
#include <vector>

#include "core/parallel.h"

namespace wl {
namespace {

constexpr uint64_t kRowsPerTask = 64;

Status check_classes(const char* what, const int64_t* classes, uint64_t count,
                     uint32_t num_classes) {
  for (uint64_t i = 0; i < count; ++i) {
    if (classes[i] < 0 || classes[i] >= int64_t{num_classes}) {
      return make_status(StatusCode::kInvalidArgument,
                         "%s classes must be from 0 to %u, got %lld at %llu", what, num_classes - 1,
                         static_cast<long long>(classes[i]), static_cast<unsigned long long>(i));
    }
  }
  return Status{};
}

class Chooser {
 public:
  // Throws where memory runs out.
  explicit Chooser(const SymbolRates& symbols)
      : symbols_(symbols), cheapest_(size_t{symbols.num_row_classes} * symbols.num_column_classes) {
    const double* rates = symbols.rates;
    for (uint32_t& symbol : cheapest_) {
      symbol = static_cast<uint32_t>(std::min_element(rates, rates + symbols.num_symbols) - rates);
      rates += symbols.num_symbols;
    }
  }

  double value(int32_t code) const { return symbols_.codebook[code]; }
  uint32_t num_symbols() const { return symbols_.num_symbols; }
  double row_weight(uint64_t row) const { return symbols_.row_weights[row]; }
  // The first of a row's contexts; a column's class goes on top.
  size_t row_contexts(uint64_t row) const {
    return static_cast<size_t>(symbols_.row_classes[row]) * symbols_.num_column_classes;
  }
  size_t column_context(uint64_t column) const {
    return static_cast<size_t>(symbols_.column_classes[column]);
  }

  // The symbol of the least weight * (target - value)^2 + rate, the first where several are.
  // From the target outwards, as far as a squared error with the lowest rate may still be less.
  int32_t choose(double target, double weight, size_t context) const {
    const double* rates = symbols_.rates + context * symbols_.num_symbols;
    uint32_t chosen = cheapest_[context];
    const double lowest = rates[chosen];
    double least = squared_error(target, weight, chosen) + lowest;
    const uint32_t above = first_not_below(target);
    // False where nothing further out can be chosen, and where the target is NaN.
    const auto consider = [&](uint32_t symbol) {
      const double error = squared_error(target, weight, symbol);
      if (!(error + lowest <= least)) return false;
      const double cost = error + rates[symbol];
      if (cost < least || (cost == least && symbol < chosen)) {
        least = cost;
        chosen = symbol;
      }
      return true;
    };
    for (uint32_t symbol = above; symbol < symbols_.num_symbols && consider(symbol);) ++symbol;
    for (uint32_t symbol = above; symbol > 0 && consider(symbol - 1);) --symbol;
    return static_cast<int32_t>(chosen);
  }

 private:
  double squared_error(double target, double weight, uint32_t symbol) const {
    const double distance = target - symbols_.codebook[symbol];
    return distance * distance * weight;
  }

  uint32_t first_not_below(double target) const {
    const double* codebook = symbols_.codebook;
    uint32_t first = 0;
    for (uint32_t length = symbols_.num_symbols; length > 0;) {
      const uint32_t half = (length + 1) / 2;
      first += codebook[first + half - 1] < target ? half : 0;
      length -= half;
    }
    return first;
  }

  const SymbolRates& symbols_;
  std::vector<uint32_t> cheapest_;  // [context], the first symbol of the lowest rate
};

// Calls run(row, group) for each row of all groups, on several threads.
template <typename Run>
void for_rows(const ColumnBlock& block, uint32_t num_threads, const Run& run) {
  const uint64_t num_rows = block.num_groups * block.num_rows;
  parallel_for((num_rows + kRowsPerTask - 1) / kRowsPerTask, num_threads,
               [&](uint32_t, uint64_t task) {
                 const uint64_t end = std::min(num_rows, (task + 1) * kRowsPerTask);
                 for (uint64_t row = task * kRowsPerTask; row < end; ++row) {
                   run(row, row / block.num_rows);
                 }
               });
}

// values[i] += scale * added[i] from `begin` to `end`.
inline void add_scaled(const double* added, double scale, uint64_t begin, uint64_t end,
                       double* values) {
  for (uint64_t i = begin; i < end; ++i) values[i] += scale * added[i];
}

Status check_all_classes(const ColumnBlock& block, const SymbolRates& symbols) {
  const Status rows = check_classes("row", symbols.row_classes, block.num_groups * block.num_rows,
                                    symbols.num_row_classes);
  if (!rows.ok()) return rows;
  return check_classes("column", symbols.column_classes + block.first, block.width,
                       symbols.num_column_classes);
}

Status check_codes(const ColumnBlock& block, uint32_t num_symbols, const int32_t* codes) {
  for (uint64_t row = 0; row < block.num_groups * block.num_rows; ++row) {
    const int32_t* begin = codes + row * block.num_columns + block.first;
    for (const int32_t* code = begin; code < begin + block.width; ++code) {
      if (static_cast<uint32_t>(*code) >= num_symbols) {
        return make_status(StatusCode::kInvalidArgument, "codes must be from 0 to %u, got %d",
                           num_symbols - 1, *code);
      }
    }
  }
  return Status{};
}

Status out_of_memory() {
  return make_status(StatusCode::kOutOfMemory, "memory ran out for the classes");
}

}  // namespace

Status decide_block(const ColumnBlock& block, const SymbolRates& symbols, const double* upper,
                    uint32_t num_threads, double* left, int32_t* codes, double* errors) {
  const Status checked = check_all_classes(block, symbols);
  if (!checked.ok()) return checked;
  try {
    const Chooser chooser(symbols);
    for_rows(block, num_threads, [&](uint64_t row, uint64_t group) {
      const double* factor = upper + group * block.width * block.width;
      double* targets = left + row * block.width;
      const uint64_t at = row * block.num_columns + block.first;
      const double row_weight = chooser.row_weight(row);
      const size_t contexts = chooser.row_contexts(row);
      for (uint64_t j = 0; j < block.width; ++j, factor += block.width) {
        const double pivot = factor[j];
        const int32_t code = chooser.choose(targets[j], 1 / (pivot * pivot) * row_weight,
                                            contexts + chooser.column_context(block.first + j));
        const double error = (targets[j] - chooser.value(code)) / pivot;
        codes[at + j] = code;
        errors[at + j] = error;
        add_scaled(factor, -error, j + 1, block.width, targets);
      }
    });
    return Status{};
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }
}

Status decide_block_again(const ColumnBlock& block, const SymbolRates& symbols,
                          const double* square, uint32_t num_threads, double* gradient,
                          int32_t* codes, double* errors) {
  Status checked = check_all_classes(block, symbols);
  if (checked.ok()) checked = check_codes(block, symbols.num_symbols, codes);
  if (!checked.ok()) return checked;
  try {
    const Chooser chooser(symbols);
    for_rows(block, num_threads, [&](uint64_t row, uint64_t group) {
      const double* covariance = square + group * block.width * block.width;
      double* slopes = gradient + row * block.width;
      const uint64_t at = row * block.num_columns + block.first;
      const double row_weight = chooser.row_weight(row);
      const size_t contexts = chooser.row_contexts(row);
      for (uint64_t j = 0; j < block.width; ++j, covariance += block.width) {
        const double curvature = covariance[j];
        const double old = chooser.value(codes[at + j]);
        const int32_t code = chooser.choose(old - slopes[j] / curvature, curvature * row_weight,
                                            contexts + chooser.column_context(block.first + j));
        if (code == codes[at + j]) continue;
        const double change = chooser.value(code) - old;
        codes[at + j] = code;
        errors[at + j] += change;
        add_scaled(covariance, change, j + 1, block.width, slopes);
      }
    });
    return Status{};
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }
}

}  // namespace wl
