#include "core/bloomier_hash.h"

#include "core/murmur3.h"

namespace wl {
namespace {

// The multipliers of the two schemes, found by trying all odd ones below 1,024: contiguous runs of
// 2 to 128 lanes fall evenly on the slots, and lanes that are fewer than 67 apart never fall less
// than eight slots apart. They differ, so that indices with a period that one of them does not
// spread are spread by the other.
constexpr uint32_t kTabulationMultiplier = 283;
constexpr uint32_t kMurmur3Multiplier = 633;

SlotOrder make_order(uint32_t multiplier) {
  SlotOrder order;
  for (uint32_t lane = 0; lane < kSlots; ++lane) {
    const uint32_t slot = lane * multiplier % kSlots;
    order.slot_of[lane] = static_cast<uint16_t>(slot);
    order.lane_of[slot] = static_cast<uint16_t>(lane);
  }
  return order;
}

}  // namespace

const SlotOrder& slot_order(Hash scheme) {
  static const SlotOrder tabulation = make_order(kTabulationMultiplier);
  static const SlotOrder murmur3 = make_order(kMurmur3Multiplier);
  return scheme == Hash::kTabulation ? tabulation : murmur3;
}

HashWord::HashWord(Hash scheme, uint32_t count, const Kernel& kernel)
    : scheme_(scheme),
      count_(count),
      kernel_(&kernel),
      order_(count == kSlots ? slot_order(scheme).lane_of : nullptr) {}

void HashWord::set_seeds(uint32_t group_seed, uint32_t unit_seed) {
  group_seed_ = group_seed;
  last_group_ = kNoGroup;
  if (scheme_ == Hash::kTabulation) kernel_->hash_range(0, nullptr, count_, unit_seed, words_);
}

HashWord::Words HashWord::group(uint32_t group) {
  if (scheme_ == Hash::kTabulation) return {words_, murmur3_32(group, group_seed_)};
  kernel_->hash_range(group * count_, order_, count_, group_seed_, words_);
  return {words_, 0};
}

uint32_t HashWord::unit(uint32_t group, uint32_t unit) {
  if (scheme_ == Hash::kMurmur3) {
    return murmur3_32(group * count_ + (order_ ? order_[unit] : unit), group_seed_);
  }
  if (group != last_group_) {
    last_group_ = group;
    last_offset_ = murmur3_32(group, group_seed_);
  }
  return words_[unit] + last_offset_;
}

BlockSeeds block_seeds(uint32_t seed, uint32_t attempt) {
  BlockSeeds seeds;
  for (uint32_t j = 0; j < 8; ++j) seeds.s[j] = murmur3_32(8 * attempt + j, seed);
  return seeds;
}

}  // namespace wl
