// The weights of a bundle's tensors, one after another, read and written by the same code.
#ifndef WL_CORE_BUNDLE_LEVELS_H_
#define WL_CORE_BUNDLE_LEVELS_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "core/bundle_blob.h"
#include "core/bundle_head.h"
#include "core/bundle_mixer.h"

namespace wl {

// A number that is 1 or more in half octaves: twice the length in bits, and the bit behind the
// first; 0 for 0. Below 64 for numbers of 31 bits.
inline uint32_t half_octaves(uint64_t value) {
  uint32_t length = 0;
  while (value >> length > 1) ++length;
  if (value < 2) return static_cast<uint32_t>(value);
  return 2 * length + static_cast<uint32_t>(value >> (length - 1) & 1U);
}

// The middle of the numbers that have so many half octaves; the inverse of `half_octaves`.
inline uint64_t half_octaves_middle(uint32_t count) {
  if (count < 4) return count == 3 ? 3 : count;
  return (uint64_t{2 * (2 + count % 2) + 1} << (count / 2)) >> 2;
}

// Means are in units of 1/16.
constexpr uint64_t kMeanUnit = 16;

// The scale of levels: their mean magnitude in half octaves.
inline uint32_t measure_scale(const int32_t* levels, uint32_t num_weights) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < num_weights; ++i) sum += static_cast<uint64_t>(std::abs(levels[i]));
  return std::min(half_octaves((kMeanUnit * sum + num_weights / 2) / num_weights), 63U);
}

// What comes before a weight in its tensor: the contexts that its bits are coded in.
class LevelContexts {
 public:
  LevelContexts(uint32_t index, const BundleTensor& tensor)
      : index_(index),
        tensor_(tensor),
        first_mean_(half_octaves_middle(tensor.scale)),
        columns_(tensor.row_length, 0) {}

  // Sets the contexts of weight `at`; those before it are in `levels`.
  void set_magnitude(const int32_t* levels, uint32_t at, BitMixer* mixer);
  void set_sign(const int32_t* levels, uint32_t at, BitMixer* mixer) const;

  // Takes the weight in and goes on to the next.
  void advance(uint32_t magnitude) {
    all_ += magnitude;
    row_ += magnitude;
    uint32_t* column = &columns_[column_];
    *column += std::min(magnitude, UINT32_MAX - *column);
    if (++column_ == tensor_.row_length) {
      column_ = 0;
      ++row_index_;
      row_ = 0;
    }
  }

 private:
  // The mean of `count` magnitudes, with four of the tensor's mean before them, in half octaves.
  uint32_t mean(uint64_t sum, uint32_t count) const {
    constexpr uint64_t kBefore = 4;
    return half_octaves((kMeanUnit * sum + kBefore * first_mean_) / (kBefore + count));
  }

  // The magnitude of a weight before, 3 where it is more, in the scale of the tensor.
  uint32_t near(const int32_t* levels, uint32_t at, uint32_t distance, bool is_there) const {
    const uint64_t magnitude =
        is_there ? static_cast<uint64_t>(std::abs(levels[at - distance])) : first_mean_ / kMeanUnit;
    return static_cast<uint32_t>(std::min<uint64_t>(magnitude, 3));
  }

  static uint32_t sign(const int32_t* levels, uint32_t at, uint32_t distance, bool is_there) {
    if (!is_there || levels[at - distance] == 0) return 0;
    return levels[at - distance] < 0 ? 2 : 1;
  }

  const uint32_t index_;
  const BundleTensor& tensor_;
  const uint64_t first_mean_;
  uint64_t all_ = 0;  // sums of magnitudes: of all weights before, in this row, in each column
  uint64_t row_ = 0;
  std::vector<uint32_t> columns_;
  uint32_t row_index_ = 0;
  uint32_t column_ = 0;
};

// Magnitudes of 1 and more in buckets: 1 to 4 one each, then two buckets each of 2, 4, 8, ... .
struct LevelBucket {
  static constexpr uint32_t kSingles = 4;

  uint32_t index;
  uint32_t first;
  int tail_bits;

  static LevelBucket at(uint32_t index) {
    if (index < kSingles) return {index, index + 1, 0};
    const uint32_t octave = (index - kSingles) / 2 + 1;
    const uint32_t first = (2U << octave) + 1 + ((index - kSingles) % 2 << octave);
    return {index, first, static_cast<int>(octave)};
  }
};

template <typename Coder>
class LevelModel {
 public:
  explicit LevelModel(Coder* coder) : coder_(coder) {}

  // Codes levels[0:num_weights] of the bundle's tensor number `index`, one that has levels. Those
  // that are to be read are 0 before.
  void code_levels(uint32_t index, const BundleTensor& tensor, int32_t* levels) {
    LevelContexts contexts(index, tensor);
    const uint32_t limits[2] = {tensor.highest(), tensor.lowest()};
    if (limits[0] == 0 && limits[1] == 0) return;  // zeros
    for (uint32_t at = 0; at < tensor.num_weights; ++at) {
      contexts.set_magnitude(levels, at, &mixer_);
      bool is_nonzero = levels[at] != 0;
      mixer_.code(coder_, kDecisionNonzero, kMixInputs, &is_nonzero);
      uint32_t magnitude = 0;
      if (is_nonzero) {
        bool is_negative = levels[at] < 0;
        magnitude = static_cast<uint32_t>(std::abs(levels[at]));
        code_magnitude(std::max(limits[0], limits[1]), &magnitude);
        if (magnitude <= std::min(limits[0], limits[1])) {
          contexts.set_sign(levels, at, &mixer_);
          mixer_.code(coder_, kDecisionSign, kSignInputs, &is_negative);
        } else {
          is_negative = limits[1] > limits[0];
        }
        levels[at] =
            is_negative ? -static_cast<int32_t>(magnitude) : static_cast<int32_t>(magnitude);
      }
      contexts.advance(magnitude);
    }
  }

  // Codes weights that have no levels, as the bits of their type.
  void code_floats(BundleKind kind, uint32_t num_weights, uint32_t* bits) {
    for (uint32_t at = 0; at < num_weights; ++at) {
      if (kind == BundleKind::kFloat16) {
        code_top(&half_tops_, 10, &bits[at]);
      } else {
        code_top(&float_tops_, 23, &bits[at]);
      }
    }
  }

 private:
  static constexpr uint32_t kDecisionNonzero = 0;
  static constexpr uint32_t kDecisionSign = 1;
  static constexpr uint32_t kDecisionBucket = 2;  // and on
  static constexpr uint32_t kDecisionTail = 64;   // and on
  static constexpr uint32_t kSignInputs = 4;

  // A magnitude of 1 to limit.
  void code_magnitude(uint32_t limit, uint32_t* magnitude) {
    LevelBucket bucket = LevelBucket::at(0);
    for (;;) {
      const LevelBucket next = LevelBucket::at(bucket.index + 1);
      if (next.first > limit) break;
      bool is_further = *magnitude >= next.first;
      mixer_.code(coder_, kDecisionBucket + bucket.index, kMixInputs, &is_further);
      if (!is_further) break;
      bucket = next;
    }
    if (bucket.tail_bits > 0) {
      uint32_t tail = *magnitude - bucket.first;
      const int rest = bucket.tail_bits - 1;
      bool is_upper = (tail >> rest & 1U) != 0;
      mixer_.code(coder_, kDecisionTail + bucket.index, kMixInputs, &is_upper);
      uint32_t lower = tail & ((1U << rest) - 1);
      coder_->raw(rest, &lower);
      *magnitude = std::min(bucket.first + (uint32_t{is_upper} << rest) + lower, limit);
    } else {
      *magnitude = bucket.first;
    }
  }

  template <typename Tree>
  void code_top(Tree* tree, int mantissa_bits, uint32_t* bits) {
    uint32_t top = *bits >> mantissa_bits;
    uint32_t mantissa = *bits & ((1U << mantissa_bits) - 1);
    tree->code(coder_, &top);
    coder_->raw(mantissa_bits, &mantissa);
    *bits = top << mantissa_bits | mantissa;
  }

  Coder* coder_;
  BitMixer mixer_;
  TreeModel<6> half_tops_;
  TreeModel<9> float_tops_;
};

}  // namespace wl

#endif  // WL_CORE_BUNDLE_LEVELS_H_
