// Quantisation of a layer, one block of columns at a time: the sequential part of each sweep.
#ifndef WL_CORE_COMPENSATION_H_
#define WL_CORE_COMPENSATION_H_

#include <cstdint>

#include "core/status.h"

namespace wl {

// A block of the columns of matrices [num_groups][num_rows][num_columns].
struct ColumnBlock {
  uint64_t num_groups;
  uint64_t num_rows;
  uint64_t num_columns;
  uint64_t first;  // the block's first column
  uint64_t width;
};

// What a weight may become, and what each choice costs beside its error.
struct SymbolRates {
  const double* codebook;  // [num_symbols], strictly ascending
  uint32_t num_symbols;    // 1 or more
  const double* rates;     // [num_row_classes][num_column_classes][num_symbols], finite
  uint32_t num_row_classes;
  uint32_t num_column_classes;
  const int64_t* row_classes;     // [num_groups * num_rows]
  const int64_t* column_classes;  // [num_columns]
  // What the squared error of a row counts: [num_groups * num_rows], 0 or more.
  const double* row_weights;
};

// Decides the columns of a block in order. Each weight takes the symbol of the least squared error
// times row weight / pivot^2 plus rate, the first of those that cost the same; its error over the
// pivot, times the pivot's row, is taken from the block's later columns.
//   left: [group][row][width], where the error of each weight would be 0; used up.
//   upper: [group][width][width], the block's part of the upper Cholesky factor of the inverse.
//   codes: [group][row][num_columns], of which the block's columns are written.
//   errors: likewise, the errors over the pivots.
// Nothing may overlap. The same for any num_threads.
// Errors: kInvalidArgument where a class is out of range; kOutOfMemory.
Status decide_block(const ColumnBlock& block, const SymbolRates& symbols, const double* upper,
                    uint32_t num_threads, double* left, int32_t* codes, double* errors);

// Chooses the columns of a block again in order, each weight with all others as they are.
//   gradient: [group][row][width], error times covariance; used up.
//   square: [group][width][width], the block's part of the covariance, its diagonal above 0.
//   codes: [group][row][num_columns], of which the block's columns are read and written.
//   errors: likewise, value less weight, kept in step with the codes.
// Nothing may overlap. The same for any num_threads.
// Errors: kInvalidArgument where a class or code is out of range, nothing written; kOutOfMemory.
Status decide_block_again(const ColumnBlock& block, const SymbolRates& symbols,
                          const double* square, uint32_t num_threads, double* gradient,
                          int32_t* codes, double* errors);

}  // namespace wl

#endif  // WL_CORE_COMPENSATION_H_
