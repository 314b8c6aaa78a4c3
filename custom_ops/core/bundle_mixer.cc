#include "core/bundle_mixer.h"

#include <algorithm>

#include "core/fixed_log.h"
#include "core/murmur3.h"

namespace wl {
namespace {

constexpr int kUnitShift = 8;  // from the units of logarithms to those of the logistic domain
constexpr int kConfidenceBits = 8;

LogisticTables make_tables() {
  LogisticTables tables;
  const uint32_t* log2_table = fixed_log2_table();
  const auto logit = [&](uint32_t part, uint32_t whole) {
    const int32_t difference =
        static_cast<int32_t>(log2_table[part]) - static_cast<int32_t>(log2_table[whole - part]);
    return difference / (1 << kUnitShift);
  };
  constexpr uint32_t kSteps = 1U << LogisticTables::kStretchBits;
  for (uint32_t i = 0; i < kSteps; ++i) {
    tables.stretch[i] = static_cast<int16_t>(logit(2 * i + 1, 2 * kSteps));
  }
  constexpr uint32_t kWhole = 1U << LogisticTables::kSquashBits;
  uint32_t part = 1;
  for (int32_t sum = -LogisticTables::kLimit; sum <= LogisticTables::kLimit; ++sum) {
    while (part + 1 < kWhole && logit(part, kWhole) < sum) ++part;
    tables.squash[static_cast<size_t>(LogisticTables::kLimit + sum)] = static_cast<uint16_t>(part);
  }
  return tables;
}

// How much a slot that has seen so many bits is believed.
int32_t confidence(uint32_t seen) {
  return static_cast<int32_t>((seen << kConfidenceBits) / (seen + 3));
}

}  // namespace

const LogisticTables& logistic_tables() {
  static const LogisticTables tables = make_tables();
  return tables;
}

void BitMixer::set_context(uint32_t input, uint32_t context) {
  bases_[input] = murmur3_32(context, input);
}

void BitMixer::predict(uint32_t decision, uint32_t num_inputs) {
  static const LogisticTables& tables = logistic_tables();
  constexpr uint32_t kMask = (1U << kMixSlotBits) - 1;
  const int32_t* weights = &weights_[size_t{decision} * kMixInputs];
  int64_t sum = 0;
  for (uint32_t i = 0; i < num_inputs; ++i) {
    current_[i] = &slots_[(size_t{i} << kMixSlotBits) + ((bases_[i] + decision) & kMask)];
    const int32_t logit = tables.stretch[current_[i]->one() >> (MixSlot::kBits - 12)];
    stretched_[i] = logit * confidence(current_[i]->seen()) / (1 << kConfidenceBits);
    sum += int64_t{weights[i]} * stretched_[i];
  }
  sum = std::clamp<int64_t>(sum / (1 << kWeightBits), -LogisticTables::kLimit,
                            LogisticTables::kLimit);
  probability_ = tables.squash[static_cast<size_t>(LogisticTables::kLimit + sum)];
}

void BitMixer::learn(uint32_t decision, uint32_t num_inputs, bool bit) {
  int32_t* weights = &weights_[size_t{decision} * kMixInputs];
  const int32_t error =
      (bit ? 1 << LogisticTables::kSquashBits : 0) - static_cast<int32_t>(probability_);
  for (uint32_t i = 0; i < num_inputs; ++i) {
    const int32_t moved = weights[i] + error * stretched_[i] / (1 << kLearnShift);
    weights[i] = std::clamp(moved, -kMaxWeight, kMaxWeight);
    current_[i]->update(bit);
  }
}

}  // namespace wl
