// Adaptive bits whose probability is mixed from several contexts.
//
// Source: M. Mahoney, "Adaptive weighing of context models for lossless data compression",
// Florida Tech. CS-2005-16, 2005: probabilities are added up in the logistic domain with weights
// that follow the coding error. Integers alone, so that every machine decodes the same.
#ifndef WL_CORE_BUNDLE_MIXER_H_
#define WL_CORE_BUNDLE_MIXER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace wl {

constexpr uint32_t kMixInputs = 5;
constexpr uint32_t kMixDecisions = 128;  // kinds of bits, each with weights of its own
constexpr int kMixSlotBits = 16;

// Tables of the logistic domain. Its unit is 2^-8 bits: log2(p / (1 - p)).
struct LogisticTables {
  static constexpr int kStretchBits = 12;
  static constexpr int32_t kLimit = 3072;
  static constexpr int kSquashBits = 14;

  std::array<int16_t, 1 << kStretchBits> stretch;  // by the highest bits of a probability
  std::array<uint16_t, 2 * kLimit + 1> squash;     // of 2^14, from 1; by kLimit + sum
};

const LogisticTables& logistic_tables();

// The probability of a 1, and how many bits it has seen.
class MixSlot {
 public:
  static constexpr int kBits = 22;
  static constexpr uint32_t kMaxSeen = 511;

  uint32_t one() const { return state_ >> kSeenBits; }
  uint32_t seen() const { return state_ & ((1U << kSeenBits) - 1); }

  // Moves by one over (1.6 + bits seen).
  void update(bool bit) {
    const uint32_t count = seen();
    const int64_t target = bit ? (int64_t{1} << kBits) - 1 : 0;
    const int64_t before = one();
    const int64_t after = before + (target - before) * 5 / (5 * int64_t{count} + 8);
    state_ = static_cast<uint32_t>(after) << kSeenBits | (count < kMaxSeen ? count + 1 : count);
  }

 private:
  static constexpr int kSeenBits = 10;
  uint32_t state_ = (1U << (kBits - 1)) << kSeenBits;
};

// Slots of all contexts of every input, and the weights of the inputs for each decision.
class BitMixer {
 public:
  BitMixer() : slots_(size_t{kMixInputs} << kMixSlotBits) { weights_.fill(kFirstWeight); }

  // The context of an input for the bits to come: any number. Two may share slots by chance.
  void set_context(uint32_t input, uint32_t context);

  // Codes one bit. `num_inputs` of the inputs, from the first on, take part.
  template <typename Coder>
  void code(Coder* coder, uint32_t decision, uint32_t num_inputs, bool* bit) {
    predict(decision, num_inputs);
    const uint32_t one = probability_;
    coder->bit((1U << 16) - 4 * one, bit);
    learn(decision, num_inputs, *bit);
  }

 private:
  static constexpr int kWeightBits = 16;
  static constexpr int32_t kFirstWeight = 4 << (kWeightBits - 4);
  static constexpr int32_t kMaxWeight = 64 << kWeightBits;
  static constexpr int kLearnShift = 14;

  void predict(uint32_t decision, uint32_t num_inputs);
  void learn(uint32_t decision, uint32_t num_inputs, bool bit);

  std::vector<MixSlot> slots_;
  std::array<int32_t, kMixDecisions * kMixInputs> weights_;
  std::array<uint32_t, kMixInputs> bases_{};
  std::array<MixSlot*, kMixInputs> current_{};
  std::array<int32_t, kMixInputs> stretched_{};
  uint32_t probability_ = 0;  // of a 1, of 2^14
};

}  // namespace wl

#endif  // WL_CORE_BUNDLE_MIXER_H_
