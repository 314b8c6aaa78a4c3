// The quantisation of layers against plain loops, on one thread and on several.
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "core/codebook_products.h"
#include "core/compensation.h"
#include "core/line_classes.h"
#include "core/symbol_counts.h"

namespace wl {
namespace {

using Random = std::mt19937_64;

std::vector<double> draw_values(Random& random, size_t count) {
  std::vector<double> values(count);
  std::normal_distribution<double> normal;
  for (double& value : values) value = normal(random);
  return values;
}

template <typename T>
std::vector<T> draw_codes(Random& random, size_t count, T first, T last) {
  std::vector<T> codes(count);
  std::uniform_int_distribution<T> uniform(first, last);
  for (T& code : codes) code = uniform(random);
  return codes;
}

// Columns are decided one after the other, all symbols tried for each.
void check_decisions(uint32_t num_symbols) {
  constexpr uint64_t kRows = 150, kColumns = 37, kFirst = 5, kWidth = 30;
  Random random(num_symbols);
  std::vector<double> codebook(num_symbols);
  for (uint32_t i = 0; i < num_symbols; ++i) codebook[i] = 0.1 * i * (1 + 0.01 * i) - 1;
  const std::vector<double> rates = draw_values(random, 2 * 3 * num_symbols);
  const std::vector<int64_t> rows = draw_codes<int64_t>(random, kRows, 0, 1);
  const std::vector<int64_t> columns = draw_codes<int64_t>(random, kColumns, 0, 2);
  std::vector<double> row_weights = draw_values(random, kRows);
  for (double& weight : row_weights) weight = std::fmax(0, 3 * weight);
  const ColumnBlock block{1, kRows, kColumns, kFirst, kWidth};
  const SymbolRates symbols{codebook.data(), num_symbols,    rates.data(),      2, 3,
                            rows.data(),     columns.data(), row_weights.data()};
  std::vector<double> upper = draw_values(random, kWidth * kWidth);
  for (uint64_t j = 0; j < kWidth; ++j) upper[j * kWidth + j] = 1 + 0.01 * static_cast<double>(j);
  const std::vector<double> targets = draw_values(random, kRows * kWidth);
  for (const uint32_t num_threads : {1u, 4u}) {
    std::vector<double> left = targets, errors(kRows * kColumns, 7.0);
    std::vector<int32_t> codes(kRows * kColumns, -7);
    CHECK(decide_block(block, symbols, upper.data(), num_threads, left.data(), codes.data(),
                       errors.data())
              .ok());
    left = targets;
    for (uint64_t row = 0; row < kRows; ++row) {
      for (uint64_t j = 0; j < kColumns; ++j) {
        const int32_t code = codes[row * kColumns + j];
        const double error = errors[row * kColumns + j];
        if (j < kFirst || j >= kFirst + kWidth) {
          CHECK(code == -7 && error == 7.0);
          continue;
        }
        const uint64_t at = j - kFirst;
        const double* line = &upper[at * kWidth];
        double* target = &left[row * kWidth];
        const double* rate = &rates[static_cast<size_t>(rows[row] * 3 + columns[j]) * num_symbols];
        const auto cost = [&](uint32_t symbol) {
          const double distance = target[at] - codebook[symbol];
          return distance * distance / (line[at] * line[at]) * row_weights[row] + rate[symbol];
        };
        CHECK(code >= 0 && code < static_cast<int32_t>(num_symbols));
        const double found = cost(static_cast<uint32_t>(code));
        for (uint32_t symbol = 0; symbol < num_symbols; ++symbol) {
          CHECK(found <= cost(symbol) + 1e-9 * std::fabs(found));
        }
        CHECK(std::fabs(error * line[at] - (target[at] - codebook[static_cast<size_t>(code)])) <
              1e-9 * (1 + std::fabs(target[at])));
        for (uint64_t i = at + 1; i < kWidth; ++i) target[i] -= error * line[i];
      }
    }
  }
}

void check_targets_that_are_no_numbers() {
  const double codebook[] = {-1, 0, 1}, rates[] = {0, 0, 0}, row_weight = 1, upper = 1;
  const int64_t label = 0;
  const ColumnBlock block{1, 1, 1, 0, 1};
  const SymbolRates symbols{codebook, 3, rates, 1, 1, &label, &label, &row_weight};
  for (const double target : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    double left = target, error = 0;
    int32_t code = -1;
    CHECK(decide_block(block, symbols, &upper, 1, &left, &code, &error).ok());
    CHECK(code >= 0 && code < 3);
    code = 1;
    left = target;
    CHECK(decide_block_again(block, symbols, &upper, 1, &left, &code, &error).ok());
    CHECK(code >= 0 && code < 3);
  }
}

void check_products() {
  constexpr uint64_t kGroups = 3, kRows = 70, kColumns = 35;
  constexpr int32_t kSymbols = 4;
  Random random(5);
  const std::vector<int32_t> codes =
      draw_codes<int32_t>(random, kGroups * kRows * kColumns, -2, kSymbols - 1);
  const std::vector<double> row_weights = draw_values(random, kGroups * kRows);
  std::vector<double> covariance = draw_values(random, kGroups * kColumns * kColumns);
  const auto entry = [&](uint64_t group, uint64_t a, uint64_t b) -> double& {
    return covariance[(group * kColumns + a) * kColumns + b];
  };
  for (uint64_t group = 0; group < kGroups; ++group) {
    for (uint64_t a = 0; a < kColumns; ++a) {
      for (uint64_t b = 0; b < a; ++b) entry(group, a, b) = entry(group, b, a);
    }
  }
  std::vector<double> expected(kSymbols * kSymbols);
  for (uint64_t row = 0; row < kGroups * kRows; ++row) {
    const int32_t* of_row = &codes[row * kColumns];
    for (uint64_t a = 0; a < kColumns; ++a) {
      for (uint64_t b = 0; b < kColumns; ++b) {
        if (of_row[a] < 0 || of_row[b] < 0) continue;
        expected[static_cast<size_t>(of_row[a] * kSymbols + of_row[b])] +=
            row_weights[row] * entry(row / kRows, a, b);
      }
    }
  }
  for (const uint32_t num_threads : {1u, 3u}) {
    std::vector<double> products(kSymbols * kSymbols, 9.0);
    CHECK(sum_codebook_products(codes.data(), row_weights.data(), covariance.data(), kGroups, kRows,
                                kColumns, kSymbols, num_threads, products.data())
              .ok());
    for (size_t i = 0; i < products.size(); ++i) {
      CHECK(std::fabs(products[i] - expected[i]) < 1e-9);
    }
    CHECK(!sum_codebook_products(codes.data(), row_weights.data(), covariance.data(), kGroups,
                                 kRows, kColumns, kSymbols - 1, num_threads, products.data())
               .ok());
  }
}

// Lines of two kinds end in two classes, wherever they begin.
void check_classes() {
  constexpr uint64_t kLines = 200;
  std::vector<double> counts;
  for (uint64_t line = 0; line < kLines; ++line) {
    const bool odd = line % 2 == 1;
    counts.insert(counts.end(), {odd ? 1.0 : 30.0, 10.0, odd ? 30.0 : 1.0});
  }
  for (const uint32_t num_threads : {1u, 4u}) {
    std::vector<int64_t> classes(kLines, 1);
    classes[0] = 0;
    CHECK(classify_lines(counts.data(), kLines, 1, 3, 2, 3, num_threads, classes.data()).ok());
    for (uint64_t line = 0; line < kLines; ++line) CHECK(classes[line] == classes[line % 2]);
    CHECK(classes[0] == 0 && classes[1] == 1);
    classes[3] = 2;
    CHECK(!classify_lines(counts.data(), kLines, 1, 3, 2, 3, num_threads, classes.data()).ok());
  }
}

void check_counts() {
  constexpr uint64_t kRows = 130, kColumns = 90;
  Random random(6);
  std::vector<int32_t> codes = draw_codes<int32_t>(random, kRows * kColumns, 0, 4);
  const std::vector<int64_t> rows = draw_codes<int64_t>(random, kRows, 0, 1);
  const std::vector<int64_t> columns = draw_codes<int64_t>(random, kColumns, 0, 2);
  std::vector<double> by_row(kRows * 3 * 5), by_column(kColumns * 2 * 5);
  for (uint64_t i = 0; i < codes.size(); ++i) {
    const uint64_t row = i / kColumns, column = i % kColumns;
    const uint64_t symbol = static_cast<uint64_t>(codes[i]);
    ++by_row[(row * 3 + static_cast<uint64_t>(columns[column])) * 5 + symbol];
    ++by_column[(column * 2 + static_cast<uint64_t>(rows[row])) * 5 + symbol];
  }
  SymbolMatrix matrix{codes.data(), kRows, kColumns, 5};
  for (const uint32_t num_threads : {1u, 4u}) {
    std::vector<double> found(by_row.size());
    CHECK(count_row_symbols(matrix, columns.data(), 3, num_threads, found.data()).ok());
    CHECK(found == by_row);
    found.assign(by_column.size(), 0);
    CHECK(count_column_symbols(matrix, rows.data(), 2, num_threads, found.data()).ok());
    CHECK(found == by_column);
  }
  for (const int32_t wrong : {5, -1, std::numeric_limits<int32_t>::min()}) {
    codes[777] = wrong;
    CHECK(!count_row_symbols(matrix, columns.data(), 3, 2, by_row.data()).ok());
    CHECK(!count_column_symbols(matrix, rows.data(), 2, 2, by_column.data()).ok());
  }
}

}  // namespace
}  // namespace wl

int main() {
  for (const uint32_t num_symbols : {1u, 2u, 5u, 31u, 300u}) wl::check_decisions(num_symbols);
  wl::check_targets_that_are_no_numbers();
  wl::check_products();
  wl::check_classes();
  wl::check_counts();
  return 0;
}
