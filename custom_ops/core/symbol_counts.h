// How often each symbol of a matrix occurs, by row or by column and by classes of the others.
#ifndef WL_CORE_SYMBOL_COUNTS_H_
#define WL_CORE_SYMBOL_COUNTS_H_

#include <cstdint>

#include "core/status.h"

namespace wl {

struct SymbolMatrix {
  const int32_t* codes;  // [num_rows][num_columns]
  uint64_t num_rows;
  uint64_t num_columns;
  uint32_t num_symbols;
};

// Counts the symbols of each row by its columns' classes: counts [row][column class][symbol], 0
// before. column_classes: [num_columns], below num_classes. The same for any num_threads.
// Errors: kInvalidArgument where a code or class is out of range; the counts are then of no use.
Status count_row_symbols(const SymbolMatrix& matrix, const int64_t* column_classes,
                         uint32_t num_classes, uint32_t num_threads, double* counts);

// Counts the symbols of each column by its rows' classes: counts [column][row class][symbol].
Status count_column_symbols(const SymbolMatrix& matrix, const int64_t* row_classes,
                            uint32_t num_classes, uint32_t num_threads, double* counts);

}  // namespace wl

#endif  // WL_CORE_SYMBOL_COUNTS_H_
