#include "core/codebook_products.h"

#include <algorithm>
#include <atomic>
#include <new>
#include <vector>

#include "core/parallel.h"

namespace wl {
namespace {

constexpr uint64_t kPanel = 16;  // columns of the covariance at a time; their sums fit registers
constexpr uint64_t kRowsPerTask = 64;
constexpr uint64_t kMaxParts = 64;
constexpr uint64_t kMaxPartEntries = uint64_t{1} << 24;

// The columns of each row by the symbols they hold, ascending in each.
class SortedColumns {
 public:
  // Throws where memory runs out.
  SortedColumns(const int32_t* codes, uint64_t num_rows, uint64_t num_columns, uint32_t num_symbols)
      : codes_(codes),
        num_rows_(num_rows),
        num_columns_(num_columns),
        num_symbols_(num_symbols),
        columns_(num_rows * num_columns),
        begins_(num_rows * (uint64_t{num_symbols} + 1)) {}

  // False where a code is out of range.
  bool sort(uint32_t num_threads) {
    std::atomic<bool> all_in_range{true};
    const uint64_t num_tasks = (num_rows_ + kRowsPerTask - 1) / kRowsPerTask;
    parallel_for(num_tasks, num_threads, [&](uint32_t, uint64_t task) {
      const uint64_t end = std::min(num_rows_, (task + 1) * kRowsPerTask);
      for (uint64_t row = task * kRowsPerTask; row < end; ++row) {
        if (!sort_row(row)) all_in_range = false;
      }
    });
    return all_in_range;
  }

  const int32_t* codes(uint64_t row) const { return codes_ + row * num_columns_; }
  const uint32_t* columns(uint64_t row) const { return &columns_[row * num_columns_]; }
  // [num_symbols + 1]: where each symbol's columns begin among the row's.
  const uint32_t* begins(uint64_t row) const {
    return &begins_[row * (uint64_t{num_symbols_} + 1)];
  }

 private:
  bool sort_row(uint64_t row) {
    const int32_t* codes = codes_ + row * num_columns_;
    uint32_t* begins = &begins_[row * (uint64_t{num_symbols_} + 1)];
    for (uint64_t column = 0; column < num_columns_; ++column) {
      if (codes[column] < 0) continue;
      if (static_cast<uint32_t>(codes[column]) >= num_symbols_) return false;
      ++begins[codes[column]];
    }
    uint32_t sum = 0;
    for (uint32_t symbol = 0; symbol <= num_symbols_; ++symbol)
      begins[symbol] = sum += begins[symbol];
    uint32_t* columns = &columns_[row * num_columns_];
    for (uint64_t column = num_columns_; column-- > 0;) {
      if (codes[column] >= 0) columns[--begins[codes[column]]] = static_cast<uint32_t>(column);
    }
    return true;
  }

  const int32_t* codes_;
  uint64_t num_rows_;
  uint64_t num_columns_;
  uint32_t num_symbols_;
  std::vector<uint32_t> columns_;
  std::vector<uint32_t> begins_;
};

// Adds one row's products with some columns of the covariance.
//   panel: [num_columns][kPanel]; `first` and `width` say which columns they are.
void add_row(const SortedColumns& sorted, uint64_t row, double row_weight, const double* panel,
             uint64_t first, uint64_t width, uint32_t num_symbols, double* products) {
  const int32_t* codes = sorted.codes(row) + first;
  uint32_t held[kPanel];
  uint64_t num_held = 0;
  for (uint64_t i = 0; i < width; ++i) {
    if (codes[i] >= 0) held[num_held++] = static_cast<uint32_t>(i);
  }
  if (num_held == 0) return;
  const uint32_t* begins = sorted.begins(row);
  const uint32_t* columns = sorted.columns(row);
  for (uint32_t symbol = 0; symbol < num_symbols; ++symbol) {
    if (begins[symbol] == begins[symbol + 1]) continue;
    double sums[kPanel] = {0};
    for (uint32_t at = begins[symbol]; at < begins[symbol + 1]; ++at) {
      const double* added = panel + columns[at] * kPanel;
      for (uint64_t i = 0; i < kPanel; ++i) sums[i] += added[i];
    }
    double* line = products + uint64_t{symbol} * num_symbols;
    for (uint64_t i = 0; i < num_held; ++i) line[codes[held[i]]] += row_weight * sums[held[i]];
  }
}

}  // namespace

Status sum_codebook_products(const int32_t* codes, const double* row_weights,
                             const double* covariance, uint64_t num_groups, uint64_t num_rows,
                             uint64_t num_columns, uint32_t num_symbols, uint32_t num_threads,
                             double* products) {
  // Each part takes some panels of covariances and has sums of its own. The parts depend on the
  // problem alone, so that the sum over them does too.
  const uint64_t entries = uint64_t{num_symbols} * num_symbols;
  const uint64_t group_panels = (num_columns + kPanel - 1) / kPanel;
  const uint64_t num_panels = num_groups * group_panels;
  const uint64_t fitting = kMaxPartEntries / std::max<uint64_t>(1, entries);
  const uint64_t num_parts = std::max<uint64_t>(1, std::min({num_panels, kMaxParts, fitting}));
  const uint32_t num_workers =
      static_cast<uint32_t>(std::min<uint64_t>(std::max(num_threads, 1u), num_parts));
  try {
    SortedColumns sorted(codes, num_groups * num_rows, num_columns, num_symbols);
    std::vector<double> sums(num_parts * entries);
    std::vector<double> panels(num_workers * num_columns * kPanel);
    if (!sorted.sort(num_threads)) {
      return make_status(StatusCode::kInvalidArgument, "codes must be below %u, got others",
                         num_symbols);
    }
    parallel_for(num_parts, num_workers, [&](uint32_t worker, uint64_t part) {
      double* panel = panels.data() + worker * num_columns * kPanel;
      const uint64_t end = num_panels * (part + 1) / num_parts;
      for (uint64_t at = num_panels * part / num_parts; at < end; ++at) {
        const uint64_t group = at / group_panels;
        const uint64_t first = at % group_panels * kPanel;
        const uint64_t width = std::min(kPanel, num_columns - first);
        const double* from = covariance + group * num_columns * num_columns + first;
        for (uint64_t column = 0; column < num_columns; ++column) {
          std::copy_n(from + column * num_columns, width, panel + column * kPanel);
        }
        for (uint64_t row = group * num_rows; row < (group + 1) * num_rows; ++row) {
          add_row(sorted, row, row_weights[row], panel, first, width, num_symbols,
                  sums.data() + part * entries);
        }
      }
    });
    std::fill_n(products, entries, 0.0);
    for (uint64_t part = 0; part < num_parts; ++part) {
      for (uint64_t i = 0; i < entries; ++i) products[i] += sums[part * entries + i];
    }
    return Status{};
  } catch (const std::bad_alloc&) {
    return make_status(StatusCode::kOutOfMemory, "memory ran out for %u symbols", num_symbols);
  }
}

}  // namespace wl
