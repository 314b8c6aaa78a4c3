// Encodings that the tests share.
#ifndef WL_TESTS_NATIVE_ENCODINGS_H_
#define WL_TESTS_NATIVE_ENCODINGS_H_

#include <cstdint>
#include <cstring>
#include <vector>

#include "check.h"
#include "core/bloomier_blob.h"
#include "core/bloomier_decode.h"
#include "core/bloomier_encode.h"
#include "core/element.h"
#include "core/murmur3.h"

namespace wl {

constexpr Layout kLayouts[] = {Layout::kRibbon, Layout::kXor, Layout::kPrefix};
constexpr Hash kHashes[] = {Hash::kTabulation, Hash::kMurmur3};

// A spec together with what it points to.
struct Encoding {
  std::vector<uint32_t> indices;
  std::vector<uint16_t> values;
  std::vector<float> codebook;
  std::vector<uint8_t> lengths;
  BloomierSpec spec;

  const BloomierSpec& complete() {
    spec.indices = indices.data();
    spec.values = values.data();
    spec.num_keys = indices.size();
    spec.codebook = codebook.data();
    spec.lengths = lengths.data();
    spec.num_clusters = static_cast<uint32_t>(codebook.size());
    return spec;
  }
};

// Key i has index 37 i + i^2 mod 31 + first and centroid 7 i^2 mod num_clusters.
inline Encoding make_encoding(Layout layout, Hash hash, uint32_t num_keys, uint32_t num_clusters,
                              int bits, uint32_t first = 0) {
  Encoding encoding;
  for (uint64_t i = 0; i < num_keys; ++i) {
    encoding.indices.push_back(static_cast<uint32_t>(first + 37 * i + i * i % 31));
    encoding.values.push_back(static_cast<uint16_t>(7 * i * i % num_clusters));
  }
  const float middle = static_cast<float>(num_clusters / 2);
  for (uint32_t j = 0; j < num_clusters; ++j) {
    encoding.codebook.push_back((static_cast<float>(j) - middle) / 8 + 1.0f / 64);
  }
  encoding.spec.num_weights = uint64_t{first} + 37 * uint64_t{num_keys} + 100;
  encoding.spec.bits = bits;
  encoding.lengths.assign(num_clusters, static_cast<uint8_t>(bits));
  encoding.spec.layout = layout;
  encoding.spec.hash = hash;
  encoding.spec.seed = 2024;
  return encoding;
}

// Writes the checksum that the bytes before the last 16 should have.
inline void reseal(std::vector<uint8_t>* blob) {
  const size_t body = blob->size() - 16;
  murmur3_128(blob->data(), body, blob->data() + body);
}

inline std::vector<uint8_t> encode(Encoding encoding, uint32_t num_threads = 1) {
  std::vector<uint8_t> blob;
  CHECK(encode_bloomier(encoding.complete(), num_threads, &blob).ok());
  blob.resize(blob.size() + 16);
  reseal(&blob);
  return blob;
}

// The elements of the weights of groups [first, last), of exactly as many bytes as they need: the
// sanitizer sees any write beside them.
inline std::vector<uint8_t> decode(const BloomierView& view, ElementType type, uint64_t first,
                                   uint64_t last) {
  const size_t bytes = element_size(static_cast<int32_t>(type));
  std::vector<uint8_t> elements;
  CHECK(convert_elements(view.codebook, type, &elements));
  const uint64_t end = last == view.num_groups() ? view.num_weights : last * kGroupSize;
  std::vector<uint8_t> weights((end - first * kGroupSize) * bytes, 0xee);
  weights.shrink_to_fit();
  decode_groups(view, elements.data(), bytes, first, last, weights.data());
  return weights;
}

inline std::vector<uint8_t> decode(const std::vector<uint8_t>& blob, ElementType type) {
  BloomierView view;
  CHECK(parse_bloomier(blob.data(), blob.size(), &view).ok());
  return decode(view, type, 0, view.num_groups());
}

inline float float_at(const std::vector<uint8_t>& weights, uint64_t index) {
  float value;
  std::memcpy(&value, weights.data() + index * sizeof(value), sizeof(value));
  return value;
}

}  // namespace wl

#endif  // WL_TESTS_NATIVE_ENCODINGS_H_
