// Damaged and lying blobs: refused, or decoded within their bytes. Each buffer is exactly as long
// as the blob, so that the sanitizer sees any read beside it.
#include <algorithm>
#include <vector>

#include "check.h"
#include "core/kernels/targets.h"
#include "encodings.h"

namespace wl {
namespace {

// True where the blob is accepted; then its first and last groups are decoded by every target.
bool read(const std::vector<uint8_t>& bytes) {
  std::vector<uint8_t> blob(bytes);
  blob.shrink_to_fit();
  BloomierView view;
  const Status status = parse_bloomier(blob.data(), blob.size(), &view);
  if (!status.ok()) {
    CHECK(status.code == StatusCode::kDamaged);
    CHECK(status.message[0] != 0);
    return false;
  }
  CHECK(view.codebook.size() == view.num_clusters);
  const uint64_t some = std::min<uint64_t>(view.num_groups(), 3);
  std::vector<uint8_t> weights[2];
  for (const char* name : available_targets()) {
    CHECK(set_target(name));
    const std::vector<uint8_t> first = decode(view, ElementType::kFloat16, 0, some);
    const std::vector<uint8_t> last =
        decode(view, ElementType::kFloat64, view.num_groups() - some, view.num_groups());
    if (weights[0].empty()) {
      weights[0] = first;
      weights[1] = last;
    }
    CHECK(first == weights[0] && last == weights[1]);
  }
  return true;
}

void check_prefixes(const std::vector<uint8_t>& blob) {
  for (size_t size = 0; size < blob.size(); ++size) {
    std::vector<uint8_t> prefix(blob.begin(), blob.begin() + static_cast<std::ptrdiff_t>(size));
    CHECK(!read(prefix));
    if (size < 16) continue;
    reseal(&prefix);
    CHECK(!read(prefix));
  }
}

// Every byte of the headers takes every value, every other byte some values, checksum renewed.
void check_changes(const std::vector<uint8_t>& blob) {
  size_t num_accepted = 0;
  for (size_t at = 0; at + 16 < blob.size(); ++at) {
    for (uint32_t change = 1; change < 256; change += at < 64 ? 1 : 101) {
      std::vector<uint8_t> changed(blob);
      changed[at] = static_cast<uint8_t>(changed[at] ^ change);
      CHECK(!read(changed));
      reseal(&changed);
      num_accepted += read(changed);
    }
  }
  CHECK(num_accepted > 1000);  // among them all seeds and tables
}

void check_random_payloads(const std::vector<uint8_t>& blob) {
  for (uint32_t seed = 0; seed < 1000; ++seed) {
    std::vector<uint8_t> changed(blob);
    for (uint32_t i = 0; i < 1 + seed % 4; ++i) {
      const uint32_t at = 8 + murmur3_32(2 * i, seed) % static_cast<uint32_t>(blob.size() - 24);
      changed[at] = static_cast<uint8_t>(murmur3_32(2 * i + 1, seed));
    }
    reseal(&changed);
    read(changed);
  }
}

}  // namespace
}  // namespace wl

int main() {
  for (const wl::Layout layout : wl::kLayouts) {
    for (const wl::Hash hash : wl::kHashes) {
      const int bits = hash == wl::Hash::kTabulation ? 3 : 16;
      wl::Encoding encoding = wl::make_encoding(layout, hash, 60, 5, bits, 1000);
      encoding.lengths = {2, 3, 9, 4, 4};
      const std::vector<uint8_t> blob = wl::encode(encoding);
      CHECK(wl::read(blob));
      wl::check_prefixes(blob);
      wl::check_changes(blob);
      wl::check_random_payloads(blob);
    }
  }
  return 0;
}
