// The keys of one block as its table sees them, and the positions that a hash names.
#ifndef WL_CORE_TABLE_KEYS_H_
#define WL_CORE_TABLE_KEYS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace wl {

struct TableKey {
  uint32_t hashes[3];  // ribbon: phase, lower and upper half of the coefficients; xor: three bases
  uint16_t target;     // what the key's cells must add up to: its value under its mask
  uint16_t place;      // xor: the slot's place in its bunch, added to each base
};

// Maps the upper half of a hash evenly onto 0 .. range - 1; range at most 65,536.
inline uint32_t reduce_hash(uint32_t hash, uint32_t range) { return ((hash >> 16) * range) >> 16; }

}  // namespace wl

#endif  // WL_CORE_TABLE_KEYS_H_
