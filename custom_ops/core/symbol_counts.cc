#include "core/symbol_counts.h"

#include <algorithm>
#include <atomic>

#include "core/parallel.h"

namespace wl {
namespace {

constexpr uint64_t kCodesPerTask = uint64_t{1} << 17;  // less is not worth a thread
// The counts of so many columns stay in the cache while all rows go by.
constexpr uint64_t kMaxColumnsAtOnce = 32;

// How many lines of this length make a task.
uint64_t count_lines(uint64_t length) {
  return std::max<uint64_t>(1, kCodesPerTask / std::max<uint64_t>(1, length));
}

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
  const uint64_t task_rows = count_lines(matrix.num_columns);
  const uint64_t num_tasks = (matrix.num_rows + task_rows - 1) / task_rows;
  parallel_for(num_tasks, num_threads, [&](uint32_t, uint64_t task) {
    const uint64_t end = std::min(matrix.num_rows, (task + 1) * task_rows);
    for (uint64_t row = task * task_rows; row < end; ++row) {
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
  const uint64_t task_columns = count_lines(matrix.num_rows);
  const uint64_t num_tasks = (matrix.num_columns + task_columns - 1) / task_columns;
  const uint64_t column_size = uint64_t{num_classes} * matrix.num_symbols;
  const auto count = [&](uint64_t begin, uint64_t end) {
    for (uint64_t row = 0; row < matrix.num_rows; ++row) {
      const int32_t* codes = matrix.codes + row * matrix.num_columns;
      double* of_class = counts + static_cast<uint64_t>(row_classes[row]) * matrix.num_symbols;
      for (uint64_t column = begin; column < end; ++column) {
        const uint32_t symbol = static_cast<uint32_t>(codes[column]);
        if (symbol >= matrix.num_symbols) return false;
        ++of_class[column * column_size + symbol];
      }
    }
    return true;
  };
  parallel_for(num_tasks, num_threads, [&](uint32_t, uint64_t task) {
    const uint64_t end = std::min(matrix.num_columns, (task + 1) * task_columns);
    for (uint64_t begin = task * task_columns; begin < end; begin += kMaxColumnsAtOnce) {
      if (!count(begin, std::min(end, begin + kMaxColumnsAtOnce))) all_in_range = false;
    }
  });
  return check_found(all_in_range, matrix.num_symbols);
}

}  // namespace wl
