// Bundles: round trips and damaged blobs. Each buffer is exactly as long as it must be, so that the
// sanitizer sees any access beside it.
#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

#include "check.h"
#include "core/bundle_blob.h"
#include "core/bundle_decode.h"
#include "core/bundle_encode.h"
#include "core/element.h"
#include "core/murmur3.h"
#include "encodings.h"

namespace wl {
namespace {

// A tensor together with what it points to.
struct Content {
  BundleTensor tensor;
  std::vector<int32_t> levels;
  std::vector<float> values;
};

Content make_content(BundleKind kind, uint32_t num_weights, uint32_t spread, uint32_t row_length) {
  Content content;
  content.tensor.kind = kind;
  content.tensor.num_weights = num_weights;
  content.tensor.row_length = row_length;
  content.tensor.step = 0.3f;
  content.tensor.offset = num_weights % 2 == 0 ? 1.0f : 0.0f;
  if (has_codebook(kind)) {
    content.tensor.zero_index = spread;
    for (uint32_t j = 0; j <= 2 * spread; ++j) {
      const float place = static_cast<float>(j) - static_cast<float>(spread);
      content.tensor.codebook.push_back(place * 0.1f + static_cast<float>(j % 3) / 512);
    }
  }
  for (uint32_t i = 0; i < num_weights; ++i) {
    const uint32_t hash = murmur3_32(i, spread);
    const uint32_t magnitude = hash % (1 + hash / 7 % (spread + 1));
    const int32_t level = static_cast<int32_t>(magnitude);
    content.levels.push_back((hash >> 20) % 2 == 0 ? level : -level);
    content.values.push_back(static_cast<float>(content.levels.back()) / 8);
  }
  return content;
}

std::vector<uint8_t> encode_all(const std::vector<Content>& contents) {
  std::vector<BundleSource> sources;
  for (const Content& content : contents) {
    BundleSource source;
    source.tensor = content.tensor;
    source.levels = content.levels.data();
    source.values = content.values.data();
    sources.push_back(std::move(source));
  }
  std::vector<uint8_t> blob;
  CHECK(encode_bundle(std::move(sources), &blob).ok());
  blob.resize(blob.size() + 16);
  reseal(&blob);
  return blob;
}

// Decodes a parsed bundle; true where its weights are accepted.
bool decode_all(const BundleView& view, ElementType type,
                std::vector<std::vector<uint8_t>>* weights) {
  std::vector<uint8_t*> outputs;
  weights->clear();
  weights->reserve(view.tensors.size());
  for (const BundleTensor& tensor : view.tensors) {
    weights->emplace_back(tensor.num_weights * element_size(static_cast<int32_t>(type)));
    outputs.push_back(weights->back().data());
  }
  const std::vector<ElementType> types(outputs.size(), type);
  std::vector<uint64_t> bits;
  const Status status = decode_bundle(view, outputs, types, &bits);
  CHECK(status.ok() || status.code == StatusCode::kDamaged);
  CHECK(!status.ok() || bits.size() == outputs.size());
  return status.ok();
}

std::vector<Content> make_contents() {
  return {
      make_content(BundleKind::kStep, 180, 3, 18),
      make_content(BundleKind::kFloat16Codebook, 77, 9, 11),
      make_content(BundleKind::kStep, 16, 60000, 16),
      make_content(BundleKind::kFloat32Codebook, 50, 20, 1),
      make_content(BundleKind::kFloat16, 5, 4, 5),
      make_content(BundleKind::kFloat32, 3, 4, 2),
  };
}

void check_round_trip() {
  const std::vector<Content> contents = make_contents();
  const std::vector<uint8_t> blob = encode_all(contents);
  CHECK(blob == encode_all(contents));
  BundleView view;
  CHECK(parse_bundle(blob.data(), blob.size(), &view).ok());
  std::vector<std::vector<uint8_t>> weights;
  CHECK(decode_all(view, ElementType::kFloat32, &weights));
  CHECK(weights.size() == contents.size());
  for (size_t i = 0; i < contents.size(); ++i) {
    const Content& content = contents[i];
    for (uint32_t j = 0; j < content.tensor.num_weights; ++j) {
      float expected = content.values[j];
      if (has_levels(content.tensor.kind)) expected = content.tensor.value(content.levels[j]);
      if (content.tensor.kind == BundleKind::kFloat16Codebook) {
        expected = float_from_half(half_from_float(expected));
      }
      float weight = 0;
      std::memcpy(&weight, weights[i].data() + 4 * j, 4);
      CHECK(weight == expected);
    }
  }
}

// True where the blob is accepted; then it is decoded, if it is not too long.
bool read(const std::vector<uint8_t>& bytes) {
  std::vector<uint8_t> blob(bytes);
  blob.shrink_to_fit();
  BundleView view;
  const Status status = parse_bundle(blob.data(), blob.size(), &view);
  if (!status.ok()) {
    CHECK(status.code == StatusCode::kDamaged);
    CHECK(status.message[0] != 0);
    return false;
  }
  if (view.num_weights > 10000) return true;
  std::vector<std::vector<uint8_t>> weights;
  return decode_all(view, ElementType::kFloat64, &weights);
}

void check_damage(const std::vector<uint8_t>& blob) {
  for (size_t size = 0; size < blob.size(); ++size) {
    std::vector<uint8_t> prefix(blob.begin(), blob.begin() + static_cast<std::ptrdiff_t>(size));
    CHECK(!read(prefix));
    if (size < 16) continue;
    reseal(&prefix);
    read(prefix);
  }
  uint32_t num_accepted = 0;
  for (size_t at = 0; at + 16 < blob.size(); ++at) {
    for (uint32_t change = 1; change < 256; change += at < 100 ? 37 : 101) {
      std::vector<uint8_t> changed(blob);
      changed[at] = static_cast<uint8_t>(changed[at] ^ change);
      CHECK(!read(changed));
      reseal(&changed);
      num_accepted += read(changed);
    }
  }
  CHECK(num_accepted > 100);
}

}  // namespace
}  // namespace wl

int main() {
  wl::check_round_trip();
  wl::check_damage(wl::encode_all(wl::make_contents()));
  return 0;
}
