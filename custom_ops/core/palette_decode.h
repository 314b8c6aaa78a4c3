// Decodes a parsed palette into a dense tensor.
#ifndef WL_CORE_PALETTE_DECODE_H_
#define WL_CORE_PALETTE_DECODE_H_

#include <cstddef>
#include <cstdint>

#include "core/palette_blob.h"

namespace wl {

// Writes the weights of chunks [first, last) of the tensor: element chunk_weights * first goes to
// output[0].
//   elements: an element of `element_bytes` (1, 2, 4 or 8) for each centroid (see
//   convert_elements). output: room for min(chunk_weights * last, num_weights) - chunk_weights *
//   first elements,
//     aligned to its element, not aliasing the blob.
// Any number of threads may decode disjoint ranges of one view at a time. Allocates nothing; takes
// about 45 KiB of stack.
void decode_chunks(const PaletteView& view, const void* elements, size_t element_bytes,
                   uint64_t first, uint64_t last, void* output);

}  // namespace wl

#endif  // WL_CORE_PALETTE_DECODE_H_
