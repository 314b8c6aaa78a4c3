// Queries of prefix codes by AVX2. The first level is read for the eight slots of a bunch at a
// time, from a table for each half of a byte of the rows: entry e has, for all planes of the level,
// the parities of those rows that the four coefficients e take.

// Bytes of the tables for each byte of a plane: 16 for its lower half, 16 for its upper one. All
// tables of lower halves come first.
constexpr uint32_t kHalfTableBytes = 16;
constexpr uint32_t kTableBytes = 2 * kHalfTableBytes;

// Bytes at, at + 1, at + 2, at + 3 of each plane, as four numbers of 64 bits: a byte for each
// plane, that of the first plane in the highest.
inline __m256i gather_rows(const uint8_t* planes, uint32_t plane_bytes, int num_planes) {
  __m128i rows[kLevelPlanes];
  for (int plane = 0; plane < kLevelPlanes; ++plane) {
    uint32_t bytes = 0;
    if (plane < num_planes) {
      __builtin_memcpy(&bytes, planes + uint64_t{plane_bytes} * static_cast<uint32_t>(plane),
                       sizeof(bytes));
    }
    rows[plane] = _mm_cvtsi32_si128(static_cast<int>(bytes));
  }
  const __m128i lower = _mm_unpacklo_epi16(_mm_unpacklo_epi8(rows[7], rows[6]),  //
                                           _mm_unpacklo_epi8(rows[5], rows[4]));
  const __m128i upper =
      _mm_unpacklo_epi16(_mm_unpacklo_epi8(rows[3], rows[2]), _mm_unpacklo_epi8(rows[1], rows[0]));
  return _mm256_set_m128i(_mm_unpackhi_epi32(lower, upper), _mm_unpacklo_epi32(lower, upper));
}

// The tables of one byte of rows, the lower half's in the lower lane. Numbers 4 i + k of a lane are
// the columns of that half: entry e is the sum of those for which bit i of e is set.
inline __m256i sum_columns(__m256i columns, uint32_t k) {
  constexpr int kOut = static_cast<int>(0x80808080U);  // places from which a shuffle takes 0
  const __m256i offset = _mm256_set1_epi8(static_cast<char>(k));
  const __m256i places[4] = {
      _mm256_set1_epi16(0x0080), _mm256_set1_epi32(0x04048080),
      _mm256_setr_epi32(kOut, 0x08080808, kOut, 0x08080808, kOut, 0x08080808, kOut, 0x08080808),
      _mm256_setr_epi32(kOut, kOut, 0x0c0c0c0c, 0x0c0c0c0c, kOut, kOut, 0x0c0c0c0c, 0x0c0c0c0c)};
  __m256i sums = _mm256_setzero_si256();
  for (int i = 0; i < 4; ++i) {
    const __m256i taken = _mm256_shuffle_epi8(columns, _mm256_add_epi8(places[i], offset));
    sums = _mm256_xor_si256(sums, taken);
  }
  return sums;
}

void prepare_planes(const uint8_t* planes, uint32_t plane_bytes, int num_planes,
                    uint8_t* prepared) {
  constexpr uint32_t kStep = 4;
  for (uint32_t next = 0; next < plane_bytes; next += kStep) {
    const uint32_t at = next + kStep <= plane_bytes ? next : plane_bytes - kStep;
    const __m256i rows = gather_rows(planes + at, plane_bytes, num_planes);
    int columns[8];  // a byte for each of the four: row i's bits, the first plane's highest
    for (int i = 0; i < 8; ++i) {
      columns[i] = _mm256_movemask_epi8(_mm256_sll_epi16(rows, _mm_cvtsi32_si128(7 - i)));
    }
    const __m256i all_columns = load256(columns);
    uint8_t* lower = prepared + at * kHalfTableBytes;
    uint8_t* upper = lower + plane_bytes * kHalfTableBytes;
    for (uint32_t k = 0; k < kStep; ++k) {
      const __m256i tables = sum_columns(all_columns, k);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(lower + k * kHalfTableBytes),
                       _mm256_castsi256_si128(tables));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(upper + k * kHalfTableBytes),
                       _mm256_extracti128_si256(tables, 1));
    }
  }
}

// The bytes of eight words: bytes 0, then 2 of all words in the lower lane, 1 and 3 in the upper.
inline __m256i transpose_bytes(__m256i words) {
  const __m256i places = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,  //
                                          0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(words, places),
                                     _mm256_setr_epi32(0, 4, 2, 6, 1, 5, 3, 7));
}

inline __m256i look_up(const uint8_t* tables, __m256i entries) {
  return _mm256_shuffle_epi8(load256(tables), entries);
}

// The parities of four bytes of rows, added up for eight slots: those of the first two bytes are in
// the lower halves of the lanes of `first`, those of the others in the upper halves of `second`.
// What is in the other halves means nothing.
struct Parities {
  __m256i first;
  __m256i second;
};

inline Parities read_rows(const uint8_t* lower_tables, const uint8_t* upper_tables, __m256i words) {
  const __m256i half = _mm256_set1_epi8(0x0f);
  const __m256i bytes = transpose_bytes(words);
  const __m256i lower = _mm256_and_si256(bytes, half);
  const __m256i upper = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), half);
  constexpr uint32_t kSecond = 2 * kHalfTableBytes;
  return {_mm256_xor_si256(look_up(lower_tables, lower), look_up(upper_tables, upper)),
          _mm256_xor_si256(look_up(lower_tables + kSecond, lower),
                           look_up(upper_tables + kSecond, upper))};
}

// What the planes of the first level give for all slots, a byte each.
inline void read_first_level(const RibbonQuery& query, const PrefixLevel& level,
                             uint8_t* parities) {
  uint16_t starts[kBunches];
  find_starts(query, starts);
  const uint32_t* const low_words = query.low;
  const uint32_t* const high_words = query.high;
  const __m256i low_offset = broadcast32(query.low_offset);
  const __m256i high_offset = broadcast32(query.high_offset);
  const uint8_t* const lower_tables = level.prepared;
  const uint8_t* const upper_tables = lower_tables + level.plane_bytes * kHalfTableBytes;
  constexpr uint32_t kHigh = 4 * kHalfTableBytes;
  for (uint32_t bunch = 0; bunch < kBunches; ++bunch) {
    const uint32_t slot = bunch * kBunchSlots;
    const uint8_t* lower = lower_tables + starts[bunch] * kHalfTableBytes;
    const uint8_t* upper = upper_tables + starts[bunch] * kHalfTableBytes;
    const Parities low =
        read_rows(lower, upper, _mm256_add_epi32(load256(low_words + slot), low_offset));
    const Parities high = read_rows(lower + kHigh, upper + kHigh,
                                    _mm256_add_epi32(load256(high_words + slot), high_offset));
    const __m256i parts = _mm256_blend_epi32(_mm256_xor_si256(low.first, high.first),
                                             _mm256_xor_si256(low.second, high.second), 0xcc);
    __m128i sum = _mm_xor_si128(_mm256_castsi256_si128(parts), _mm256_extracti128_si256(parts, 1));
    sum = _mm_xor_si128(sum, _mm_unpackhi_epi64(sum, sum));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(parities + slot), sum);
  }
}

// Which of 32 bytes are below a limit of at most 256, as bits.
inline uint32_t below(__m256i bytes, uint32_t limit) {
  if (limit == 0) return 0;
  const __m256i largest = _mm256_set1_epi8(static_cast<char>(limit - 1));
  const __m256i is_below = _mm256_cmpeq_epi8(_mm256_min_epu8(bytes, largest), bytes);
  return static_cast<uint32_t>(_mm256_movemask_epi8(is_below));
}

// The slots of which the first level does not tell whether they have a code.
struct Undecided {
  uint32_t count;
  uint16_t slots[kSlots + kBunchSlots];
  uint8_t answers[kSlots];  // of all slots
};

// The highest bytes of the sums of 32 slots' words.
inline __m256i find_masks(const RibbonQuery& query, uint32_t slot, __m256i offsets) {
  __m256i highest[4];
  for (uint32_t i = 0; i < 4; ++i) {
    const uint32_t at = slot + i * kBunchSlots;
    const __m256i sums = _mm256_add_epi32(load256(query.low + at), load256(query.high + at));
    highest[i] = _mm256_srli_epi32(_mm256_add_epi32(sums, offsets), 24);
  }
  const __m256i packed = _mm256_packus_epi16(_mm256_packus_epi32(highest[0], highest[1]),
                                             _mm256_packus_epi32(highest[2], highest[3]));
  return _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

inline void query_first_level(const RibbonQuery& query, const PrefixLevel& level, Hits* hits,
                              Undecided* undecided) {
  uint8_t* const answers = undecided->answers;
  read_first_level(query, level, answers);
  const __m256i offsets = broadcast32(query.low_offset + query.high_offset);
  const __m128i unread = _mm_cvtsi32_si128(kLevelPlanes - level.end);
  uint8_t has_code[kBunches];
  uint8_t is_open[kBunches];
  constexpr uint32_t kStep = 32;
  for (uint32_t slot = 0; slot < kSlots; slot += kStep) {
    const __m256i bytes =
        _mm256_xor_si256(load256(answers + slot), find_masks(query, slot, offsets));
    store256(answers + slot, bytes);
    const __m256i lower = _mm256_cvtepu8_epi16(_mm256_castsi256_si128(bytes));
    const __m256i upper = _mm256_cvtepu8_epi16(_mm256_extracti128_si256(bytes, 1));
    store256(hits->codes + slot, _mm256_srl_epi16(lower, unread));
    store256(hits->codes + slot + kStep / 2, _mm256_srl_epi16(upper, unread));
    const uint32_t coded = below(bytes, level.limit >> kLevelPlanes);
    const uint32_t others = below(bytes, level.open_limit >> kLevelPlanes) & ~coded;
    __builtin_memcpy(has_code + slot / kBunchSlots, &coded, sizeof(coded));
    __builtin_memcpy(is_open + slot / kBunchSlots, &others, sizeof(others));
  }
  uint32_t count = 0;
  uint32_t num_open = 0;
  for (uint32_t bunch = 0; bunch < kBunches; ++bunch) {
    count = append_bunch(bunch, has_code[bunch], count, hits->slots);
    num_open = append_bunch(bunch, is_open[bunch], num_open, undecided->slots);
  }
  hits->count = count;
  undecided->count = num_open;
}

inline void query_prepared(const PrefixQuery& query, Hits* hits) {
  Undecided undecided;
  query_first_level(query.top, query.levels[0], hits, &undecided);
  OpenSlot open[kSlots];
  for (uint32_t i = 0; i < undecided.count; ++i) {
    const uint32_t slot = undecided.slots[i];
    open[i] = open_slot(query.top, slot, uint32_t{undecided.answers[slot]} << kLevelPlanes, 0xff);
  }
  query_lower_levels(query, undecided.count, open, hits);
}
