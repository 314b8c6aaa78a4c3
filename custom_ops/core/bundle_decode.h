// Reads the weights of a bundle.
#ifndef WL_CORE_BUNDLE_DECODE_H_
#define WL_CORE_BUNDLE_DECODE_H_

#include <cstdint>
#include <vector>

#include "core/bundle_blob.h"
#include "core/element.h"

namespace wl {

// Decodes all tensors. `outputs[i]` takes tensor i as elements of `types[i]`; null: it is not
// wanted. `bits`, if not null, gets how many bits of the blob the weights of each tensor take.
// The outputs need no alignment. Errors: kDamaged where bytes are left over; kOutOfMemory. The
// outputs are unspecified then.
Status decode_bundle(const BundleView& view, const std::vector<uint8_t*>& outputs,
                     const std::vector<ElementType>& types, std::vector<uint64_t>* bits);

}  // namespace wl

#endif  // WL_CORE_BUNDLE_DECODE_H_
