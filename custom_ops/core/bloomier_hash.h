// From a weight's index to the places of a table that it looks at. The whole scheme, in numbers, is
// in wl_onnx/codecs/FORMAT.md.
//
// An index is 1024 * group + lane. The lanes of a group are permuted into slots, slot = lane * m
// mod 1024, and eight consecutive slots, a bunch, look at the same stretch of the table, so that
// one load serves eight weights. The multiplier m spreads any run of neighbouring lanes, and any
// column of a row-major matrix, evenly over the slots; in a ribbon the bunches of a group start at
// even distances from a random phase, which spreads the keys better than chance does.
#ifndef WL_CORE_BLOOMIER_HASH_H_
#define WL_CORE_BLOOMIER_HASH_H_

#include <cstdint>

#include "core/bloomier_blob.h"
#include "core/kernels/kernel.h"

namespace wl {

// lane_of[slot] and slot_of[lane] of one hash scheme.
struct SlotOrder {
  uint16_t lane_of[kSlots];
  uint16_t slot_of[kSlots];
};
const SlotOrder& slot_order(Hash scheme);

// One 32-bit hash of each of `count` units (the 1,024 slots or the 128 bunches) of a group:
//   murmur3:     murmur3_32(count * group + place, group_seed), place = lane or bunch
//   tabulation:  murmur3_32(group, group_seed) + murmur3_32(unit, unit_seed)  mod 2^32
class HashWord {
 public:
  struct Words {
    const uint32_t* words;  // [count]
    uint32_t offset;        // to be added to each
  };

  HashWord(Hash scheme, uint32_t count, const Kernel& kernel);

  void set_seeds(uint32_t group_seed, uint32_t unit_seed);

  // The hashes of a whole group; valid until the next call.
  Words group(uint32_t group);

  // The hash of one unit; for tabulation, groups in ascending order are cheapest.
  uint32_t unit(uint32_t group, uint32_t unit);

 private:
  static constexpr uint32_t kNoGroup = 0xffffffffU;  // groups end at 2^22

  Hash scheme_;
  uint32_t count_;
  const Kernel* kernel_;
  const uint16_t* order_;  // place of each unit, or null where it is the unit itself
  uint32_t group_seed_ = 0;
  uint32_t last_group_ = kNoGroup;
  uint32_t last_offset_ = 0;
  alignas(64) uint32_t words_[kSlots];  // a vector of them does not cross a line of the cache
};

// The seeds of one block: s_j = murmur3_32(8 * attempt + j, seed), j = 0 .. 7.
struct BlockSeeds {
  uint32_t s[8];
};
BlockSeeds block_seeds(uint32_t seed, uint32_t attempt);

}  // namespace wl

#endif  // WL_CORE_BLOOMIER_HASH_H_
