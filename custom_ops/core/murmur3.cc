#include "core/murmur3.h"

#include <cstring>

namespace wl {
namespace {

uint32_t rotate_left(uint32_t x, int r) { return (x << r) | (x >> (32 - r)); }
uint64_t rotate_left(uint64_t x, int r) { return (x << r) | (x >> (64 - r)); }

uint64_t mix(uint64_t k) {
  k ^= k >> 33;
  k *= 0xff51afd7ed558ccdULL;
  k ^= k >> 33;
  k *= 0xc4ceb9fe1a85ec53ULL;
  k ^= k >> 33;
  return k;
}

constexpr uint64_t kMul1 = 0x87c37b91114253d5ULL;
constexpr uint64_t kMul2 = 0x4cf5ad432745937fULL;

uint64_t scramble1(uint64_t k) { return rotate_left(k * kMul1, 31) * kMul2; }
uint64_t scramble2(uint64_t k) { return rotate_left(k * kMul2, 33) * kMul1; }

}  // namespace

uint32_t murmur3_32(uint32_t key, uint32_t seed) {
  uint32_t h = seed ^ (rotate_left(key * 0xcc9e2d51U, 15) * 0x1b873593U);
  h = rotate_left(h, 13) * 5 + 0xe6546b64U;
  h ^= 4;  // the key's length in bytes
  h = (h ^ (h >> 16)) * 0x85ebca6bU;
  h = (h ^ (h >> 13)) * 0xc2b2ae35U;
  return h ^ (h >> 16);
}

void murmur3_128(const uint8_t* data, size_t size, uint8_t digest[16]) {
  uint64_t h1 = 0, h2 = 0;
  const size_t whole = size / 16 * 16;
  for (size_t at = 0; at < whole; at += 16) {
    uint64_t k1, k2;
    std::memcpy(&k1, data + at, 8);
    std::memcpy(&k2, data + at + 8, 8);
    h1 = (rotate_left(h1 ^ scramble1(k1), 27) + h2) * 5 + 0x52dce729;
    h2 = (rotate_left(h2 ^ scramble2(k2), 31) + h1) * 5 + 0x38495ab5;
  }
  uint8_t tail[16] = {0};
  if (size > whole) std::memcpy(tail, data + whole, size - whole);
  uint64_t k1, k2;
  std::memcpy(&k1, tail, 8);
  std::memcpy(&k2, tail + 8, 8);
  h2 ^= scramble2(k2) ^ size;
  h1 ^= scramble1(k1) ^ size;
  h1 += h2;
  h2 += h1;
  h1 = mix(h1);
  h2 = mix(h2);
  h1 += h2;
  h2 += h1;
  std::memcpy(digest, &h1, 8);
  std::memcpy(digest + 8, &h2, 8);
}

}  // namespace wl
