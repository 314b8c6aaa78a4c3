// A canonical prefix code that may be incomplete: what its codes leave over decodes to zero.
#ifndef WL_CORE_PREFIX_CODE_H_
#define WL_CORE_PREFIX_CODE_H_

#include <cstdint>
#include <vector>

namespace wl {

// Codes are compared as numbers of 16 bits, the first bit of a code in the highest.
constexpr int kMaxCodeLength = 16;

// The codes of one length. Levels ascend by length.
struct CodeLevel {
  int length;
  uint32_t num_codes;  // of this length and of all shorter ones
  uint32_t limit;      // the first of the 2^16 numbers that none of these codes begins
};

struct PrefixCode {
  std::vector<CodeLevel> levels;
  std::vector<uint16_t> order;  // [num_symbols]: the symbols by length, then by number
  std::vector<uint16_t> codes;  // [num_symbols], by symbol: the code's number, zeros behind it

  int max_length() const { return levels.empty() ? 0 : levels.back().length; }
};

// Gives each of `count` symbols (at most 2^16) a code of lengths[symbol] bits, each from 1 to 16.
// False, with `code` unspecified, where so many short codes do not exist: the sum of 2^-length is
// above 1. Throws std::bad_alloc.
bool make_prefix_code(const uint8_t* lengths, uint32_t count, PrefixCode* code);

}  // namespace wl

#endif  // WL_CORE_PREFIX_CODE_H_
