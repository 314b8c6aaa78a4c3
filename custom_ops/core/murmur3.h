// MurmurHash3 (Austin Appleby, 2011, public domain algorithm), as the Python package mmh3 gives it.
#ifndef WL_CORE_MURMUR3_H_
#define WL_CORE_MURMUR3_H_

#include <cstddef>
#include <cstdint>

namespace wl {

// MurmurHash3_x86_32 of the key's four little-endian bytes; equals mmh3.hash(key, seed,
// signed=False).
uint32_t murmur3_32(uint32_t key, uint32_t seed);

// MurmurHash3_x64_128 with seed 0 of data[0:size]; equals mmh3.mmh3_x64_128_digest(data).
void murmur3_128(const uint8_t* data, size_t size, uint8_t digest[16]);

}  // namespace wl

#endif  // WL_CORE_MURMUR3_H_
