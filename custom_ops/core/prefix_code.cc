#include "core/prefix_code.h"

namespace wl {

bool make_prefix_code(const uint8_t* lengths, uint32_t count, PrefixCode* code) {
  uint32_t counts[kMaxCodeLength + 1] = {};
  for (uint32_t symbol = 0; symbol < count; ++symbol) ++counts[lengths[symbol]];
  code->levels.clear();
  uint32_t rank[kMaxCodeLength + 1];   // of the next symbol of each length
  uint64_t first[kMaxCodeLength + 1];  // and its code
  uint32_t num_codes = 0;
  uint64_t limit = 0;
  for (int length = 1; length <= kMaxCodeLength; ++length) {
    rank[length] = num_codes;
    first[length] = limit;
    if (counts[length] == 0) continue;
    num_codes += counts[length];
    limit += uint64_t{counts[length]} << (kMaxCodeLength - length);
    code->levels.push_back({length, num_codes, static_cast<uint32_t>(limit)});
  }
  if (limit > uint64_t{1} << kMaxCodeLength) return false;
  code->order.resize(count);
  code->codes.resize(count);
  for (uint32_t symbol = 0; symbol < count; ++symbol) {
    const int length = lengths[symbol];
    code->order[rank[length]++] = static_cast<uint16_t>(symbol);
    code->codes[symbol] = static_cast<uint16_t>(first[length]);
    first[length] += uint64_t{1} << (kMaxCodeLength - length);
  }
  return true;
}

}  // namespace wl
