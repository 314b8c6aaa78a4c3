// Palettes on every CPU target: round trips, the bytes as ever, and damaged blobs. Each buffer is
// exactly as long as it must be, so that the sanitizer sees any access beside it.
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "check.h"
#include "core/element.h"
#include "core/kernels/targets.h"
#include "core/murmur3.h"
#include "core/palette_blob.h"
#include "core/palette_decode.h"
#include "core/palette_encode.h"
#include "encodings.h"

namespace wl {
namespace {

std::vector<uint8_t> encode_codes(const std::vector<uint16_t>& codes,
                                  const std::vector<float>& codebook,
                                  std::vector<uint64_t> row_lengths, uint32_t num_threads = 1) {
  PaletteSpec spec;
  spec.num_weights = codes.size();
  spec.codes = codes.data();
  spec.codebook = codebook.data();
  spec.num_clusters = static_cast<uint32_t>(codebook.size());
  spec.row_lengths = std::move(row_lengths);
  std::vector<uint8_t> blob;
  CHECK(encode_palette(spec, num_threads, &blob).ok());
  blob.resize(blob.size() + 16);
  reseal(&blob);
  return blob;
}

std::vector<uint8_t> decode_all(const PaletteView& view, const std::vector<uint8_t>& elements,
                                size_t element_bytes) {
  std::vector<uint8_t> weights(view.num_weights * element_bytes, 0xee);
  weights.shrink_to_fit();
  decode_chunks(view, elements.data(), element_bytes, 0, view.chunks.size(), weights.data());
  return weights;
}

// The codes, as every target decodes them.
std::vector<uint16_t> decode_codes(const PaletteView& view) {
  std::vector<uint8_t> elements(2 * view.codebook.size());
  for (size_t j = 0; j < view.codebook.size(); ++j) {
    const uint16_t code = static_cast<uint16_t>(j);
    std::memcpy(elements.data() + 2 * j, &code, 2);
  }
  std::vector<uint8_t> first;
  for (const char* name : available_targets()) {
    CHECK(set_target(name));
    const std::vector<uint8_t> weights = decode_all(view, elements, 2);
    if (first.empty()) first = weights;
    CHECK(first == weights);
  }
  std::vector<uint16_t> codes(view.num_weights);
  std::memcpy(codes.data(), first.data(), first.size());
  return codes;
}

std::vector<float> make_codebook(uint32_t num_clusters) {
  std::vector<float> codebook;
  for (uint32_t j = 0; j < num_clusters; ++j) {
    codebook.push_back(static_cast<float>(j * j % 97) / 8 - 5);
  }
  return codebook;
}

// Codes that hashes choose, in dead and in live columns of rows of 50.
std::vector<uint16_t> make_codes(uint64_t num_weights, uint32_t num_clusters) {
  std::vector<uint16_t> codes;
  for (uint64_t i = 0; i < num_weights; ++i) {
    const uint32_t hash = murmur3_32(static_cast<uint32_t>(i), num_clusters);
    const bool live = i % 50 % 3 != 0;
    codes.push_back(static_cast<uint16_t>(live ? hash % (1 + hash / 7 % num_clusters) : 0));
  }
  return codes;
}

void check_round_trips() {
  for (const uint32_t num_clusters : {1U, 2U, 16U, 17U, 256U, 257U, 4096U}) {
    for (const uint64_t num_weights : {1U, 63U, 1000U, 20001U, 300007U}) {
      const std::vector<uint16_t> codes = make_codes(num_weights, num_clusters);
      const std::vector<float> codebook = make_codebook(num_clusters);
      for (const bool has_rows : {false, true}) {
        std::vector<uint64_t> row_lengths;
        if (has_rows) row_lengths = {50, 7};
        const std::vector<uint8_t> blob = encode_codes(codes, codebook, row_lengths);
        CHECK(blob == encode_codes(codes, codebook, row_lengths, 3));
        PaletteView view;
        CHECK(parse_palette(blob.data(), blob.size(), &view).ok());
        CHECK(decode_codes(view) == codes);
      }
    }
  }
}

// "plain" of tests/palettes.py: this CPU and compiler write the same bytes as any other.
void check_golden() {
  std::vector<uint16_t> codes;
  for (uint32_t i = 0; i < 700; ++i) codes.push_back(static_cast<uint16_t>(i * i % 11 % 5));
  const std::vector<uint8_t> blob = encode_codes(codes, {-2.0f, -0.5f, 0.0f, 1.0f, 3.0f}, {});
  std::string checksum;
  for (size_t i = blob.size() - 16; i < blob.size(); ++i) {
    char byte[3];
    std::snprintf(byte, sizeof(byte), "%02x", blob[i]);
    checksum += byte;
  }
  CHECK(checksum == "944f425b1494f60786ea11324c002f3b");
}

// True where the blob is accepted; then it is decoded, if it is not too long.
bool read(const std::vector<uint8_t>& bytes) {
  std::vector<uint8_t> blob(bytes);
  blob.shrink_to_fit();
  PaletteView view;
  const Status status = parse_palette(blob.data(), blob.size(), &view);
  if (!status.ok()) {
    CHECK(status.code == StatusCode::kDamaged);
    CHECK(status.message[0] != 0);
    return false;
  }
  if (view.num_weights > 100000) return true;
  for (const uint16_t code : decode_codes(view)) CHECK(code < view.codebook.size());
  std::vector<uint8_t> elements;
  CHECK(convert_elements(view.codebook, ElementType::kFloat64, &elements));
  decode_all(view, elements, 8);
  return true;
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
    for (uint32_t change = 1; change < 256; change += at < 48 ? 3 : 101) {
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
  wl::check_golden();
  wl::check_round_trips();
  wl::check_damage(wl::encode_codes(wl::make_codes(900, 5), wl::make_codebook(5), {50}));
  wl::check_damage(wl::encode_codes(wl::make_codes(700, 300), wl::make_codebook(300), {}));
  return 0;
}
