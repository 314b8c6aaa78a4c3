#include "core/fixed_log.h"

#include <vector>

namespace wl {
namespace {

// One bit of the fraction for each squaring of a mantissa in [1, 2).
uint32_t fixed_log2(uint32_t value) {
  uint32_t whole = 0;
  while (value >> whole > 1) ++whole;
  uint64_t mantissa = uint64_t{value} << (31 - whole);
  uint32_t fraction = 0;
  for (int i = 0; i < 16; ++i) {
    mantissa = mantissa * mantissa >> 31;
    fraction <<= 1;
    if (mantissa >> 32 != 0) {
      mantissa >>= 1;
      fraction |= 1;
    }
  }
  return whole * kFixedLogUnit + fraction;
}

}  // namespace

const uint32_t* fixed_log2_table() {
  static const std::vector<uint32_t> table = [] {
    std::vector<uint32_t> logs((1U << kFixedLogBits) + 1, 0);
    for (uint32_t i = 1; i < logs.size(); ++i) logs[i] = fixed_log2(i);
    return logs;
  }();
  return table.data();
}

}  // namespace wl
