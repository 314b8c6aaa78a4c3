// MurmurHash3 against published values and those of the Python package mmh3.
#include <cstring>
#include <string>
#include <vector>

#include "check.h"
#include "core/kernels/kernel.h"
#include "core/kernels/targets.h"
#include "core/murmur3.h"

namespace wl {
namespace {

void check_32_bits() {
  struct {
    uint32_t key, seed, expected;
  } const vectors[] = {
      {0, 0, 0x2362f9deU},           {0, 1, 0x78ed212dU},
      {1, 0, 0xfbf1402aU},           {0xffffffffU, 0xffffffffU, 0xa5fe21d3U},
      {0x87654321U, 0, 0xf55b516bU}, {0x87654321U, 0x5082edeeU, 0x2362f9deU},
      {1024, 2024, 0xb4bb5806U},
  };
  for (const auto& vector : vectors) {
    CHECK(murmur3_32(vector.key, vector.seed) == vector.expected);
  }
}

// Byte i of the data is 7 i + 3.
void check_128_bits() {
  struct {
    size_t size;
    const char* expected;
  } const vectors[] = {
      {0, "00000000000000000000000000000000"},  {1, "593e6a30ddc66a72e4a8b5c52711714e"},
      {7, "a1e36c2354bfcbbe50ef9ce392a43b2b"},  {8, "bdd332919a2aeea53a007e613a7f9e25"},
      {9, "b6dbfa0aa12eba5196041e13c353811f"},  {15, "f4e4ad805e4b6aba6df2e8f78f5a0ee0"},
      {16, "a14e8f2fc599b0c448fe2ad91902677d"}, {17, "27b153fe394baed4e9db81663b450266"},
      {31, "fb3604f0dffe919dd0bf7e73ba51a87e"}, {32, "ff430608ddb8bd650a91f3a58a1bc3be"},
      {33, "1a2ff7c4d85767b1a6602d0756ee7191"}, {255, "b0d273d66453f18ed9d4b90b3f85db91"},
  };
  for (const auto& vector : vectors) {
    std::vector<uint8_t> data;
    for (size_t i = 0; i < vector.size; ++i) data.push_back(static_cast<uint8_t>(7 * i + 3));
    uint8_t digest[16];
    murmur3_128(data.data(), data.size(), digest);
    std::string hex;
    for (const uint8_t byte : digest) {
      char text[3];
      std::snprintf(text, sizeof(text), "%02x", byte);
      hex += text;
    }
    CHECK(hex == vector.expected);
  }
}

void check_hash_range_of_every_target() {
  uint16_t order[kSlots];
  for (uint32_t i = 0; i < kSlots; ++i) order[i] = static_cast<uint16_t>(i * 283 % kSlots);
  for (const char* name : available_targets()) {
    CHECK(set_target(name));
    CHECK(std::strcmp(current_kernel().name, name) == 0);
    for (const uint32_t first : {0U, 1024U, 0xfffffc00U}) {
      for (const uint32_t count : {kBunches, kSlots}) {
        uint32_t plain[kSlots], ordered[kSlots];
        current_kernel().hash_range(first, nullptr, count, 2024, plain);
        current_kernel().hash_range(first, order, count, 2024, ordered);
        for (uint32_t i = 0; i < count; ++i) {
          CHECK(plain[i] == murmur3_32(first + i, 2024));
          CHECK(ordered[i] == murmur3_32(first + order[i], 2024));
        }
      }
    }
  }
}

}  // namespace
}  // namespace wl

int main() {
  wl::check_32_bits();
  wl::check_128_bits();
  wl::check_hash_range_of_every_target();
  return 0;
}
