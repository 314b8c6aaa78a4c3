// Logarithms without floating point: an encoder decides by them, alike on every machine.
#ifndef WL_CORE_FIXED_LOG_H_
#define WL_CORE_FIXED_LOG_H_

#include <cstdint>

namespace wl {

constexpr int kFixedLogBits = 14;  // of the largest argument
constexpr uint32_t kFixedLogUnit = 1 << 16;

// log2(i) in units of 2^-16 for i = 1 .. 2^14, rounded down; [0] is 0.
const uint32_t* fixed_log2_table();

// The bits, in units of 2^-16, that a symbol of this frequency of 2^bits costs.
inline uint32_t symbol_cost(const uint32_t* log2_table, uint32_t frequency, int bits) {
  return static_cast<uint32_t>(bits) * kFixedLogUnit - log2_table[frequency];
}

}  // namespace wl

#endif  // WL_CORE_FIXED_LOG_H_
