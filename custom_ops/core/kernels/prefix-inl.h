// Queries of prefix codes in plain C++, compiled once for each CPU target like generic-inl.h, which
// comes first.

// A slot of which the planes read so far do not tell whether it has a code.
struct OpenSlot {
  uint64_t coefficients;
  uint64_t state;  // the slot and, above 32 bits, its answer: those not read yet are the mask's
};

// The answer is what the planes gave so far, zeros behind it; `unread` has the bits of the others.
inline OpenSlot open_slot(const RibbonQuery& query, uint32_t slot, uint32_t answer,
                          uint32_t unread) {
  const uint32_t low = query.low[slot] + query.low_offset;
  const uint32_t high = query.high[slot] + query.high_offset;
  const uint32_t mask = ((low + high) >> 16) & unread;
  return {low | uint64_t{high} << 32, slot | uint64_t{answer | mask} << 32};
}

// Where a slot's rows begin in the first plane of a level.
inline const uint8_t* find_rows(const PrefixLevel& level, const OpenSlot& open) {
  const uint32_t bunch = static_cast<uint32_t>(open.state) / kBunchSlots;
  return level.planes + reduce(level.phase + (bunch << 25), level.plane_bytes - 7);
}

// What the planes of a level give for a slot, the last one in the lowest bit.
inline uint64_t read_planes(const PrefixLevel& level, const OpenSlot& open) {
  const uint8_t* at = find_rows(level, open);
  uint64_t bits = 0;
  for (int plane = level.num_planes; plane > 0; --plane, at += level.plane_bytes) {
    bits = 2 * bits + parity(load64(at) & open.coefficients);
  }
  return bits;
}

// The slots that have a code now become hits; those that may have a longer one are what is left.
inline uint32_t sort_out(const PrefixLevel& level, uint32_t num_open, OpenSlot* open, Hits* hits) {
  const uint32_t limit = level.limit;
  const uint32_t num_others = level.open_limit - limit;
  const int shift = 16 - level.end;
  const uint32_t rank_offset = level.rank_offset;
  uint32_t count = hits->count;
  uint32_t num_left = 0;
  for (uint32_t i = 0; i < num_open; ++i) {
    const OpenSlot entry = open[i];
    const uint32_t slot = static_cast<uint32_t>(entry.state);
    const uint32_t answer = static_cast<uint32_t>(entry.state >> 32);
    hits->slots[count] = static_cast<uint16_t>(slot);
    hits->codes[slot] = static_cast<uint16_t>((answer >> shift) + rank_offset);
    count += answer < limit;
    open[num_left] = entry;
    num_left += answer - limit < num_others;  // unsigned: not below the limit either
  }
  hits->count = count;
  return num_left;
}

// Reads all planes of a level for one slot after another. Two loops: a read does not wait for the
// stores of the slots before it.
inline uint32_t query_level(const PrefixLevel& given, uint32_t num_open, OpenSlot* open,
                            Hits* hits) {
  const PrefixLevel level = given;  // a copy that no store can change
  const int shift = 48 - level.end;
  if (level.num_planes == 1) {
    for (uint32_t i = 0; i < num_open; ++i) {
      open[i].state ^= uint64_t{parity(load64(find_rows(level, open[i])) & open[i].coefficients)}
                       << shift;
    }
  } else {
    for (uint32_t i = 0; i < num_open; ++i) open[i].state ^= read_planes(level, open[i]) << shift;
  }
  return sort_out(level, num_open, open, hits);
}

// The levels after the first.
inline void query_lower_levels(const PrefixQuery& query, uint32_t num_open, OpenSlot* open,
                               Hits* hits) {
  for (int i = 1; i < query.num_levels && num_open > 0; ++i) {
    num_open = query_level(query.levels[i], num_open, open, hits);
  }
}

// Asks the ribbons of a prefix code. The planes that are 0 in all codes are read bunch by bunch,
// through the same Reader. Few slots are open after that, and hardly two in a bunch: those are read
// one by one, each no further than the level at which its code is complete.
template <typename Reader>
inline void query_prefix_with(const PrefixQuery& query, Hits* hits) {
  const RibbonQuery& top = query.top;
  uint16_t starts[kBunches];
  find_starts(top, starts);
  Hits left;  // its slots alone are used
  uint32_t num_left = 0;
  const int num_zeros = top.bits - top.value_bits;
  const Reader above(top, PlaneRange(top, top.value_bits, top.bits));
  for (uint32_t bunch = 0; bunch < kBunches; ++bunch) {
    const uint32_t zeros = num_zeros > 0 ? above.zeros(bunch, starts[bunch]) : 0xff;
    num_left = append_slots(bunch, zeros, num_left, &left);
  }
  OpenSlot open[kSlots];
  const uint32_t unread = num_zeros > 0 ? 0xffffU >> num_zeros : 0xffffU;
  for (uint32_t i = 0; i < num_left; ++i) {
    open[i] = open_slot(top, left.slots[i], 0, unread);
  }
  hits->count = 0;
  PrefixLevel first = query.levels[0];
  first.planes += first.plane_bytes * static_cast<uint32_t>(num_zeros);
  first.num_planes -= num_zeros;
  num_left = query_level(first, num_left, open, hits);
  query_lower_levels(query, num_left, open, hits);
}
