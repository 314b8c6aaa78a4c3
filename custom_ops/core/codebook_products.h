// The normal equations of a codebook that is fitted through a layer's covariance.
#ifndef WL_CORE_CODEBOOK_PRODUCTS_H_
#define WL_CORE_CODEBOOK_PRODUCTS_H_

#include <cstdint>

#include "core/status.h"

namespace wl {

// products[s][t]: the sum of row weight * covariance[a][b] over all rows and all columns a that
// hold symbol s and b that hold symbol t. Takes, for each row, one addition of vectors a column
// that holds a symbol.
//   codes: [num_groups][num_rows][num_columns], below num_symbols; negative where a weight is left
//   out. row_weights: [num_groups * num_rows].
//   covariance: [num_groups][num_columns][num_columns], symmetric.
//   products: [num_symbols][num_symbols], written; symmetric but for rounding.
// Fewer than 2^31 columns. The same for any num_threads.
// Errors: kInvalidArgument where a code is num_symbols or more; kOutOfMemory.
Status sum_codebook_products(const int32_t* codes, const double* row_weights,
                             const double* covariance, uint64_t num_groups, uint64_t num_rows,
                             uint64_t num_columns, uint32_t num_symbols, uint32_t num_threads,
                             double* products);

}  // namespace wl

#endif  // WL_CORE_CODEBOOK_PRODUCTS_H_
