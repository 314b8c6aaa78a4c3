// Decodes a parsed Bloomier filter into a dense tensor.
#ifndef WL_CORE_BLOOMIER_DECODE_H_
#define WL_CORE_BLOOMIER_DECODE_H_

#include <cstddef>
#include <cstdint>

#include "core/bloomier_blob.h"

namespace wl {

// Writes the weights of groups [first, last) of the tensor: element 1024 * first goes to output[0].
//   elements: num_clusters elements of `element_bytes` (2, 4 or 8) each (see convert_elements); a
//     zero weight is written as all-zero bytes.
//   output: room for min(1024 * last, num_weights) - 1024 * first elements, aligned to its element,
//     not aliasing the blob.
// Any number of threads may decode disjoint ranges of one view at a time. Allocates nothing; takes
// about 100 KiB of stack.
void decode_groups(const BloomierView& view, const void* elements, size_t element_bytes,
                   uint64_t first, uint64_t last, void* output);

}  // namespace wl

#endif  // WL_CORE_BLOOMIER_DECODE_H_
