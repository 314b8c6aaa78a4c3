// Encoding and decoding of whole blobs, on every CPU target.
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "check.h"
#include "core/kernels/targets.h"
#include "encodings.h"

namespace wl {
namespace {

std::string hex(const uint8_t digest[16]) {
  std::string text;
  for (int i = 0; i < 16; ++i) {
    char byte[3];
    std::snprintf(byte, sizeof(byte), "%02x", digest[i]);
    text += byte;
  }
  return text;
}

// The digests are those of tests/differential/test_golden_blobs.py: this CPU and compiler write and
// read the same bytes as any other.
void check_golden_digests() {
  struct {
    Layout layout;
    Hash hash;
    const char* checksum;
    const char* weights;
  } const goldens[] = {
      {Layout::kRibbon, Hash::kTabulation, "d2d0cebd8a404e3bbd188f992313cf17",
       "f5071d959967a8c6ecfa9ef23bae1454"},
      {Layout::kRibbon, Hash::kMurmur3, "8a9711dea1148892f5876de4fce40830",
       "5a6b575281a522f54a9215544bfb451d"},
      {Layout::kXor, Hash::kTabulation, "6e496663e4486d6e62db9f7430c5e289",
       "122afca2df1923519010ca7e5d01278f"},
      {Layout::kXor, Hash::kMurmur3, "685b4c0537a6b58db4f3f3351b26da00",
       "d21705edd289591c27252e7162fed7b9"},
      {Layout::kPrefix, Hash::kTabulation, "b3b0c9feebfbf71606f5a1a689e5f7e4",
       "39dd9339e674e9d40e90cfdd0be39f52"},
      {Layout::kPrefix, Hash::kMurmur3, "aa77b50fe200ec485715fe16f00fd94e",
       "f3545da163a1196241dc3331308a45a1"},
  };
  for (const auto& golden : goldens) {
    Encoding encoding = make_encoding(golden.layout, golden.hash, 9000, 13, 9);
    for (uint8_t j = 0; j < 13; ++j) encoding.lengths[j] = static_cast<uint8_t>(4 + j);
    const std::vector<uint8_t> blob = encode(encoding);
    CHECK(hex(blob.data() + blob.size() - 16) == golden.checksum);
    const std::vector<uint8_t> weights = decode(blob, ElementType::kFloat32);
    uint8_t digest[16];
    murmur3_128(weights.data(), weights.size(), digest);
    CHECK(hex(digest) == golden.weights);
  }
}

void check_different_lengths(Hash hash) {
  Encoding encoding = make_encoding(Layout::kPrefix, hash, 9000, 7, 9);
  encoding.spec.codebook_type = CodebookType::kFloat32;
  encoding.lengths = {4, 1, 16, 9, 9, 3, 5};
  const std::vector<uint8_t> blob = encode(encoding);
  CHECK(encode(encoding, 3) == blob);
  std::vector<uint8_t> first;
  for (const char* name : available_targets()) {
    CHECK(set_target(name));
    const std::vector<uint8_t> weights = decode(blob, ElementType::kFloat32);
    for (size_t i = 0; i < encoding.indices.size(); ++i) {
      CHECK(float_at(weights, encoding.indices[i]) == encoding.codebook[encoding.values[i]]);
    }
    if (first.empty()) first = weights;
    CHECK(weights == first);
  }
  encoding.lengths[6] = 1;  // the codes add up to more than 1
  std::vector<uint8_t> refused;
  CHECK(encode_bloomier(encoding.complete(), 1, &refused).code == StatusCode::kInvalidArgument);
  encoding.lengths[6] = 17;
  CHECK(encode_bloomier(encoding.complete(), 1, &refused).code == StatusCode::kInvalidArgument);
}

void check_round_trip(Layout layout, Hash hash, uint32_t num_keys, uint32_t num_clusters,
                      int bits) {
  Encoding encoding = make_encoding(layout, hash, num_keys, num_clusters, bits);
  encoding.spec.codebook_type = CodebookType::kFloat32;
  const std::vector<uint8_t> blob = encode(encoding);
  CHECK(encode(encoding, 3) == blob);
  std::vector<uint8_t> first;
  for (const char* name : available_targets()) {
    CHECK(set_target(name));
    CHECK(encode(encoding) == blob);
    const std::vector<uint8_t> weights = decode(blob, ElementType::kFloat32);
    for (size_t i = 0; i < encoding.indices.size(); ++i) {
      CHECK(float_at(weights, encoding.indices[i]) == encoding.codebook[encoding.values[i]]);
    }
    if (first.empty()) first = weights;
    CHECK(weights == first);
  }
}

// Group by group, and in every element type, the weights are the same.
void check_parts(Layout layout, Hash hash) {
  const std::vector<uint8_t> blob = encode(make_encoding(layout, hash, 9000, 13, 9));
  BloomierView view;
  CHECK(parse_bloomier(blob.data(), blob.size(), &view).ok());
  CHECK(view.blocks.size() == 3);
  for (const ElementType type : {ElementType::kFloat32, ElementType::kFloat16,
                                 ElementType::kFloat64, ElementType::kBfloat16}) {
    const std::vector<uint8_t> whole = decode(view, type, 0, view.num_groups());
    for (const uint64_t step : {1, 7}) {
      std::vector<uint8_t> parts;
      for (uint64_t group = 0; group < view.num_groups(); group += step) {
        const uint64_t last = std::min(view.num_groups(), group + step);
        const std::vector<uint8_t> part = decode(view, type, group, last);
        parts.insert(parts.end(), part.begin(), part.end());
      }
      CHECK(parts == whole);
    }
  }
  CHECK(decode(view, ElementType::kFloat32, 5, 5).empty());
}

// The last groups of the largest tensor there can be.
void check_largest_tensor(Layout layout, Hash hash) {
  constexpr uint32_t kNumKeys = 5000;
  Encoding encoding =
      make_encoding(layout, hash, kNumKeys, 13, 9, 0xffffffffU - 37 * kNumKeys - 100);
  CHECK(encoding.spec.num_weights == 0xffffffffU);
  const std::vector<uint8_t> blob = encode(encoding);
  BloomierView view;
  CHECK(parse_bloomier(blob.data(), blob.size(), &view).ok());
  const uint64_t first = encoding.indices[0] / kGroupSize;
  std::vector<uint8_t> expected;
  for (const char* name : available_targets()) {
    CHECK(set_target(name));
    const std::vector<uint8_t> weights =
        decode(view, ElementType::kFloat32, first, view.num_groups());
    for (size_t i = 0; i < encoding.indices.size(); ++i) {
      const uint64_t at = encoding.indices[i] - first * kGroupSize;
      CHECK(float_at(weights, at) == encoding.codebook[encoding.values[i]]);
    }
    if (expected.empty()) expected = weights;
    CHECK(weights == expected);
  }
}

void check_refused(Encoding encoding, const char* message) {
  std::vector<uint8_t> blob;
  const Status status = encode_bloomier(encoding.complete(), 2, &blob);
  CHECK(status.code == StatusCode::kInvalidArgument);
  CHECK(std::strstr(status.message, message));
}

void check_wrong_specs() {
  const Encoding good = make_encoding(Layout::kXor, Hash::kMurmur3, 100, 13, 9);
  Encoding wrong = good;
  wrong.spec.num_weights = 0;
  check_refused(wrong, "from 1 to 2^32 - 1, got 0");
  wrong.spec.num_weights = uint64_t{1} << 32;
  check_refused(wrong, "from 1 to 2^32 - 1, got 4294967296");
  wrong.spec.num_weights = good.indices.back();
  check_refused(wrong, "got 3668 at place 99");
  wrong = good;
  wrong.spec.bits = 3;
  check_refused(wrong, "bits must be from 4 (for 13 centroids) to 16, got 3");
  wrong = good;
  wrong.codebook[4] = std::numeric_limits<float>::quiet_NaN();
  check_refused(wrong, "centroid 4 must be finite");
  wrong = good;
  wrong.codebook.clear();
  check_refused(wrong, "centroids must be from 1 to 4096, got 0");
  wrong = good;
  wrong.values[7] = 13;
  check_refused(wrong, "got 13 at place 7");
}

}  // namespace
}  // namespace wl

int main() {
  const std::vector<const char*> targets = wl::available_targets();
  CHECK(std::strcmp(targets.back(), "baseline") == 0);
  CHECK(std::strcmp(wl::current_kernel().name, targets[0]) == 0);
  CHECK(!wl::set_target("mmx"));
  std::printf("targets:");
  for (const char* name : targets) std::printf(" %s", name);
  std::printf("\n");
  for (const char* name : targets) {
    CHECK(wl::set_target(name));
    wl::check_golden_digests();
  }
  for (const wl::Layout layout : wl::kLayouts) {
    for (const wl::Hash hash : wl::kHashes) {
      wl::check_round_trip(layout, hash, 0, 1, 1);
      wl::check_round_trip(layout, hash, 1, 1, 1);
      wl::check_round_trip(layout, hash, 300, 2, 1);
      wl::check_round_trip(layout, hash, 5000, 16, 9);
      wl::check_round_trip(layout, hash, 5000, 4096, 12);
      wl::check_round_trip(layout, hash, 3000, 200, 16);
      wl::check_parts(layout, hash);
      wl::check_largest_tensor(layout, hash);
    }
  }
  wl::check_different_lengths(wl::Hash::kTabulation);
  wl::check_different_lengths(wl::Hash::kMurmur3);
  wl::check_wrong_specs();
  return 0;
}
