// A parsed bundle: many small tensors in one blob, coded adaptively, without tables.
#ifndef WL_CORE_BUNDLE_BLOB_H_
#define WL_CORE_BUNDLE_BLOB_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/range_coder.h"
#include "core/status.h"

namespace wl {

constexpr uint32_t kMaxBundleTensors = 1U << 16;
constexpr uint32_t kMaxBundleWeights = 1U << 23;  // of all tensors together
constexpr int32_t kMaxLevel = 1 << 24;            // exact as a float

// How a tensor's values are given.
enum class BundleKind : uint8_t {
  kStep = 0,             // offset + level * step
  kFloat16Codebook = 1,  // codebook[level + zero_index]
  kFloat32Codebook = 2,
  kFloat16 = 3,  // the values themselves
  kFloat32 = 4,
};

inline bool has_codebook(BundleKind kind) {
  return kind == BundleKind::kFloat16Codebook || kind == BundleKind::kFloat32Codebook;
}

inline bool has_levels(BundleKind kind) { return kind == BundleKind::kStep || has_codebook(kind); }

// All that a tensor has but its weights.
struct BundleTensor {
  BundleKind kind = BundleKind::kStep;
  uint32_t num_weights = 1;
  uint32_t row_length = 1;  // 1 .. num_weights; the last row may be shorter
  uint32_t scale = 0;       // the mean magnitude of the levels in half octaves, below 64
  float step = 0;           // finite
  float offset = 0;         // finite
  uint32_t zero_index = 0;  // below codebook.size()
  std::vector<float> codebook;

  // Levels are from -lowest to highest.
  uint32_t lowest() const { return kind == BundleKind::kStep ? kMaxLevel : zero_index; }
  uint32_t highest() const {
    return kind == BundleKind::kStep ? kMaxLevel
                                     : static_cast<uint32_t>(codebook.size()) - 1 - zero_index;
  }

  // The weight of a level in these bounds.
  float value(int32_t level) const {
    if (has_codebook(kind)) return codebook[static_cast<size_t>(level + int64_t{zero_index})];
    // The product is exact in double, so that this is alike with and without fused instructions.
    return static_cast<float>(double{offset} + double{step} * level);
  }
};

// A view into the blob's bytes, which must outlive it.
struct BundleView {
  uint64_t num_weights = 0;
  std::vector<BundleTensor> tensors;
  std::vector<uint64_t> head_bits;    // of what each tensor has but its weights
  RangeDecoder coder = {nullptr, 0};  // where the weights begin
};

// Parses and checks the container, the checksum and all but the weights. On error `view` is
// unspecified. Errors: kDamaged with the byte offset in the text; kOutOfMemory.
Status parse_bundle(const uint8_t* blob, size_t size, BundleView* view);

}  // namespace wl

#endif  // WL_CORE_BUNDLE_BLOB_H_
