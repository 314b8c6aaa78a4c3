// An adaptive binary range coder, for what is small and must stay small.
//
// Source: G. N. N. Martin, "Range encoding", 1979; the carry of the encoder as in LZMA (I. Pavlov).
#ifndef WL_CORE_RANGE_CODER_H_
#define WL_CORE_RANGE_CODER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace wl {

// The probability that a bit is 0, of 65,536; the first bits move it most.
class BitModel {
 public:
  uint32_t zero() const { return zero_; }

  void update(bool bit) {
    const int rate = kRates[seen_];
    zero_ =
        static_cast<uint16_t>(bit ? zero_ - (zero_ >> rate) : zero_ + ((65536U - zero_) >> rate));
    if (seen_ + 1 < kNumRates) ++seen_;
  }

 private:
  static constexpr int kNumRates = 16;
  static constexpr uint8_t kRates[kNumRates] = {1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 5};
  uint16_t zero_ = 32768;
  uint8_t seen_ = 0;
};

class RangeEncoder {
 public:
  static constexpr bool kDecodes = false;

  void bit(BitModel* model, bool* value) {
    bit(model->zero(), value);
    model->update(*value);
  }

  // A bit that is 0 with a probability of `zero`, 1 .. 65,535, of 65,536.
  void bit(uint32_t zero, bool* value) {
    const uint32_t bound = (range_ >> 16) * zero;
    if (*value) {
      low_ += bound;
      range_ -= bound;
    } else {
      range_ = bound;
    }
    normalize();
  }

  // `count` bits of even chance, the highest first.
  void raw(int count, uint32_t* value) {
    for (int i = count - 1; i >= 0; --i) {
      range_ >>= 1;
      if (*value >> i & 1) low_ += range_;
      normalize();
    }
  }

  // The bytes; zeros at their end are left out, as the decoder reads zeros there.
  std::vector<uint8_t> finish() {
    // Of the numbers that lie in the range, the one with the most zeros at its end.
    for (int zeros = 32; zeros >= 0; --zeros) {
      const uint64_t mask = (uint64_t{1} << zeros) - 1;
      const uint64_t rounded = (low_ + mask) & ~mask;
      if (rounded - low_ < range_) {
        low_ = rounded;
        break;
      }
    }
    for (int i = 0; i < 5; ++i) shift_low();
    bytes_.erase(bytes_.begin());  // the carry of nothing: always 0
    while (!bytes_.empty() && bytes_.back() == 0) bytes_.pop_back();
    return bytes_;
  }

 private:
  void normalize() {
    while (range_ < (1U << 24)) {
      range_ <<= 8;
      shift_low();
    }
  }

  void shift_low() {
    if (low_ < 0xff000000ULL || low_ > 0xffffffffULL) {
      const uint8_t carry = static_cast<uint8_t>(low_ >> 32);
      bytes_.push_back(static_cast<uint8_t>(cache_ + carry));
      for (; num_pending_ > 0; --num_pending_) bytes_.push_back(static_cast<uint8_t>(0xff + carry));
      cache_ = static_cast<uint8_t>(low_ >> 24);
    } else {
      ++num_pending_;
    }
    low_ = (low_ & 0x00ffffffULL) << 8;
  }

  uint64_t low_ = 0;
  uint32_t range_ = 0xffffffffU;
  uint8_t cache_ = 0;
  uint64_t num_pending_ = 0;
  std::vector<uint8_t> bytes_;
};

// Reads zeros behind the last byte.
class RangeDecoder {
 public:
  static constexpr bool kDecodes = true;

  RangeDecoder(const uint8_t* data, size_t size) : data_(data), size_(size) {
    for (int i = 0; i < 4; ++i) code_ = code_ << 8 | next();
  }

  void bit(BitModel* model, bool* value) {
    bit(model->zero(), value);
    model->update(*value);
  }

  void bit(uint32_t zero, bool* value) {
    const uint32_t bound = (range_ >> 16) * zero;
    *value = code_ >= bound;
    if (*value) {
      code_ -= bound;
      range_ -= bound;
    } else {
      range_ = bound;
    }
    normalize();
  }

  void raw(int count, uint32_t* value) {
    *value = 0;
    for (int i = 0; i < count; ++i) {
      range_ >>= 1;
      const bool one = code_ >= range_;
      if (one) code_ -= range_;
      *value = *value << 1 | uint32_t{one};
      normalize();
    }
  }

  // Whether the last byte has been asked for.
  bool is_at_end() const { return offset_ >= size_; }

  // Bits that all that was decoded so far takes, rounded up.
  uint64_t position_bits() const {
    int free_bits = 0;
    while (free_bits < 31 && (range_ >> free_bits) > 1) ++free_bits;
    return 8 * uint64_t{offset_} - static_cast<uint64_t>(free_bits);
  }

 private:
  void normalize() {
    while (range_ < (1U << 24)) {
      range_ <<= 8;
      code_ = code_ << 8 | next();
    }
  }

  uint32_t next() {
    const uint32_t byte = offset_ < size_ ? data_[offset_] : 0;
    ++offset_;
    return byte;
  }

  const uint8_t* data_;
  size_t size_;
  size_t offset_ = 0;
  uint32_t range_ = 0xffffffffU;
  uint32_t code_ = 0;
};

}  // namespace wl

#endif  // WL_CORE_RANGE_CODER_H_
