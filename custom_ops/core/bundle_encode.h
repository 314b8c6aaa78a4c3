// Writes bundles.
#ifndef WL_CORE_BUNDLE_ENCODE_H_
#define WL_CORE_BUNDLE_ENCODE_H_

#include <cstdint>
#include <vector>

#include "core/bundle_blob.h"
#include "core/status.h"

namespace wl {

// A tensor (its `scale` is not read) and its weights: levels, or the values where it has none.
struct BundleSource {
  BundleTensor tensor;
  const int32_t* levels = nullptr;  // [num_weights]
  const float* values = nullptr;    // [num_weights]
};

// Writes a blob without its last 16 bytes, the checksum. The same tensors give the same bytes on
// every machine. Errors: kInvalidArgument for what breaks a rule of BundleTensor, a level out of
// bounds or a value that is not finite; kOutOfMemory.
Status encode_bundle(std::vector<BundleSource> sources, std::vector<uint8_t>* bytes);

}  // namespace wl

#endif  // WL_CORE_BUNDLE_ENCODE_H_
