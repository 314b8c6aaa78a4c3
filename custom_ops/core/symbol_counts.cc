#include "core/symbol_counts.h"

#include <algorithm>
#include <atomic>

#include "core/parallel.h"

namespace wl {
namespace {

// The counts of so many columns stay in the cache while all rows go by.
constexpr uint64_t kColumnsPerTask = 32;
constexpr uint64_t kRowsPerTask = 64;

Status check_classes(const int64_t* classes, uint64_t count, uint32_t num_classes) {
  for (uint64_t i = 0; i < count; ++i) {
    if (classes[i] < 0 || classes[i] >= int64_t{num_classes}) {
      return make_status(StatusCode::kInvalidArgument, "classes must be below %u, got %lld",
                         num_classes, static_cast<long long>(classes[i]));
    }
  }
  return Status{};
}

Status check_found(bool all_in_range, uint32_t num_symbols) {
  if (all_in_range) return Status{};
  return make_status(StatusCode::kInvalidArgument,
                     "codes must be from 0 to num_symbols - 1, got others with %u symbols",
                     num_symbols);
}

}  // namespace

Status count_row_symbols(const SymbolMatrix& matrix, const int64_t* column_classes,
                         uint32_t num_classes, uint32_t num_threads, double* counts) {
  const Status checked = check_classes(column_classes, matrix.num_columns, num_classes);
  if (!checked.ok()) return checked;
  std::atomic<bool> all_in_range{true};
  const uint64_t num_tasks = (matrix.num_rows + kRowsPerTask - 1) / kRowsPerTask;
  parallel_for(num_tasks, num_threads, [&](uint32_t, uint64_t task) {
    const uint64_t end = std::min(matrix.num_rows, (task + 1) * kRowsPerTask);
    for (uint64_t row = task * kRowsPerTask; row < end; ++row) {
      const int32_t* codes = matrix.codes + row * matrix.num_columns;
      double* of_row = counts + row * num_classes * matrix.num_symbols;
      for (uint64_t column = 0; column < matrix.num_columns; ++column) {
        const uint32_t symbol = static_cast<uint32_t>(codes[column]);
        if (symbol >= matrix.num_symbols) {
          all_in_range = false;
          return;
        }
        ++of_row[static_cast<uint64_t>(column_classes[column]) * matrix.num_symbols + symbol];
      }
    }
  });
  return check_found(all_in_range, matrix.num_symbols);
}

Status count_column_symbols(const SymbolMatrix& matrix, const int64_t* row_classes,
                            uint32_t num_classes, uint32_t num_threads, double* counts) {
  const Status checked = check_classes(row_classes, matrix.num_rows, num_classes);
  if (!checked.ok()) return checked;
  std::atomic<bool> all_in_range{true};
  const uint64_t num_tasks = (matrix.num_columns + kColumnsPerTask - 1) / kColumnsPerTask;
  const uint64_t column_size = uint64_t{num_classes} * matrix.num_symbols;
  parallel_for(num_tasks, num_threads, [&](uint32_t, uint64_t task) {
    const uint64_t begin = task * kColumnsPerTask;
    const uint64_t end = std::min(matrix.num_columns, begin + kColumnsPerTask);
    for (uint64_t row = 0; row < matrix.num_rows; ++row) {
      const int32_t* codes = matrix.codes + row * matrix.num_columns;
      double* of_class = counts + static_cast<uint64_t>(row_classes[row]) * matrix.num_symbols;
      for (uint64_t column = begin; column < end; ++column) {
        const uint32_t symbol = static_cast<uint32_t>(codes[column]);
        if (symbol >= matrix.num_symbols) {
          all_in_range = false;
          return;
        }
        ++of_class[column * column_size + symbol];
      }
    }
  });
  return check_found(all_in_range, matrix.num_symbols);
}

}  // namespace wl
