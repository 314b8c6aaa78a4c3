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

// All sums of four columns: entry e is that of the columns i for which bit i of e is set.
inline __m128i sum_columns(const uint32_t columns[4], uint32_t shift) {
  const __m128i takes[4] = {
      _mm_set1_epi16(static_cast<short>(0xff00)), _mm_set1_epi32(static_cast<int>(0xffff0000)),
      _mm_set1_epi64x(static_cast<long long>(0xffffffff00000000)), _mm_set_epi64x(-1, 0)};
  __m128i sums = _mm_setzero_si128();
  for (int i = 0; i < 4; ++i) {
    const __m128i column = _mm_set1_epi8(static_cast<char>(columns[i] >> shift));
    sums = _mm_xor_si128(sums, _mm_and_si128(column, takes[i]));
  }
  return sums;
}

void prepare_planes(const uint8_t* planes, uint32_t plane_bytes, int num_planes,
                    uint8_t* prepared) {
  constexpr uint32_t kStep = 4;
  for (uint32_t next = 0; next < plane_bytes; next += kStep) {
    const uint32_t at = next + kStep <= plane_bytes ? next : plane_bytes - kStep;
    const __m256i rows = gather_rows(planes + at, plane_bytes, num_planes);
    uint32_t columns[8];  // a byte for each of the four: row i's bits, the first plane's highest
    for (int i = 0; i < 8; ++i) {
      columns[i] = static_cast<uint32_t>(
          _mm256_movemask_epi8(_mm256_sll_epi16(rows, _mm_cvtsi32_si128(7 - i))));
    }
    for (uint32_t k = 0; k < kStep; ++k) {
      uint8_t* table = prepared + (at + k) * kHalfTableBytes;
      _mm_storeu_si128(reinterpret_cast<__m128i*>(table), sum_columns(columns, 8 * k));
      table += plane_bytes * kHalfTableBytes;
      _mm_storeu_si128(reinterpret_cast<__m128i*>(table), sum_columns(columns + 4, 8 * k));
    }
  }
}

// The bytes of eight words: each lane has one of the bytes 0 and 1 of all words, then one of the
// bytes 2 and 3.
inline __m256i transpose_bytes(__m256i words) {
  const __m256i places = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,  //
                                          0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(words, places),
                                     _mm256_setr_epi32(0, 4, 2, 6, 1, 5, 3, 7));
}

inline __m256i look_up(const uint8_t* tables, __m256i entries) {
  return _mm256_shuffle_epi8(load256(tables), entries);
}

// Adds up the parities of four bytes of rows for eight slots: those of the first two bytes are in
// the lower halves of the lanes of `first`, those of the others in the upper halves of `second`.
// What the other halves get means nothing.
inline void add_parities(const uint8_t* lower_tables, const uint8_t* upper_tables, __m256i words,
                         __m256i* first, __m256i* second) {
  const __m256i half = _mm256_set1_epi8(0x0f);
  const __m256i bytes = transpose_bytes(words);
  const __m256i lower = _mm256_and_si256(bytes, half);
  const __m256i upper = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), half);
  *first = _mm256_xor_si256(
      *first, _mm256_xor_si256(look_up(lower_tables, lower), look_up(upper_tables, upper)));
  *second = _mm256_xor_si256(*second,
                             _mm256_xor_si256(look_up(lower_tables + 2 * kHalfTableBytes, lower),
                                              look_up(upper_tables + 2 * kHalfTableBytes, upper)));
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

// Reads the first level for all slots, 32 at a time.
class FirstLevel {
 public:
  explicit FirstLevel(const PrefixQuery& query)
      : query_(query.top),
        level_(query.levels[0]),
        low_offset_(broadcast32(query.top.low_offset)),
        high_offset_(broadcast32(query.top.high_offset)) {
    find_starts(query.top, starts_);
  }

  void query(Hits* hits, Undecided* undecided) const {
    const __m128i unread = _mm_cvtsi32_si128(kLevelPlanes - level_.end);
    uint8_t has_code[kBunches];
    uint8_t is_open[kBunches];
    for (uint32_t slot = 0; slot < kSlots; slot += kVectorSlots) {
      const __m256i answers = read(slot);
      store256(undecided->answers + slot, answers);
      const __m256i lower = _mm256_cvtepu8_epi16(_mm256_castsi256_si128(answers));
      const __m256i upper = _mm256_cvtepu8_epi16(_mm256_extracti128_si256(answers, 1));
      store256(hits->codes + slot, _mm256_srl_epi16(lower, unread));
      store256(hits->codes + slot + kVectorSlots / 2, _mm256_srl_epi16(upper, unread));
      const uint32_t coded = below(answers, level_.limit >> kLevelPlanes);
      const uint32_t others = below(answers, level_.open_limit >> kLevelPlanes) & ~coded;
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

 private:
  static constexpr uint32_t kVectorSlots = 32;

  // What the planes give for a bunch: in each lane, for the rows of some of the bytes.
  struct Parts {
    __m256i sums;   // of the words, of which the highest bytes are the masks
    __m256i first;  // see add_parities
    __m256i second;
  };

  // The answers of 32 slots.
  __m256i read(uint32_t slot) const {
    const Parts a = read_bunch(slot);
    const Parts b = read_bunch(slot + kBunchSlots);
    const Parts c = read_bunch(slot + 2 * kBunchSlots);
    const Parts d = read_bunch(slot + 3 * kBunchSlots);
    const __m256i ab = _mm256_xor_si256(_mm256_unpacklo_epi64(a.first, b.first),
                                        _mm256_unpackhi_epi64(a.second, b.second));
    const __m256i cd = _mm256_xor_si256(_mm256_unpacklo_epi64(c.first, d.first),
                                        _mm256_unpackhi_epi64(c.second, d.second));
    const __m256i parities = _mm256_xor_si256(_mm256_permute2x128_si256(ab, cd, 0x20),
                                              _mm256_permute2x128_si256(ab, cd, 0x31));
    const __m256i masks = _mm256_packus_epi16(
        _mm256_packus_epi32(_mm256_srli_epi32(a.sums, 24), _mm256_srli_epi32(b.sums, 24)),
        _mm256_packus_epi32(_mm256_srli_epi32(c.sums, 24), _mm256_srli_epi32(d.sums, 24)));
    const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    return _mm256_xor_si256(parities, _mm256_permutevar8x32_epi32(masks, in_order));
  }

  Parts read_bunch(uint32_t slot) const {
    const __m256i low = _mm256_add_epi32(load256(query_.low + slot), low_offset_);
    const __m256i high = _mm256_add_epi32(load256(query_.high + slot), high_offset_);
    const uint8_t* lower = level_.prepared + starts_[slot / kBunchSlots] * kHalfTableBytes;
    const uint8_t* upper = lower + level_.plane_bytes * kHalfTableBytes;
    Parts parts = {_mm256_add_epi32(low, high), _mm256_setzero_si256(), _mm256_setzero_si256()};
    add_parities(lower, upper, low, &parts.first, &parts.second);
    add_parities(lower + 4 * kHalfTableBytes, upper + 4 * kHalfTableBytes, high, &parts.first,
                 &parts.second);
    return parts;
  }

  const RibbonQuery& query_;
  const PrefixLevel& level_;
  const __m256i low_offset_;
  const __m256i high_offset_;
  uint16_t starts_[kBunches];
};

inline void query_prepared(const PrefixQuery& query, Hits* hits) {
  Undecided undecided;
  FirstLevel(query).query(hits, &undecided);
  OpenSlot open[kSlots];
  for (uint32_t i = 0; i < undecided.count; ++i) {
    const uint32_t slot = undecided.slots[i];
    open[i] = open_slot(query.top, slot, uint32_t{undecided.answers[slot]} << kLevelPlanes, 0xff);
  }
  query_lower_levels(query, undecided.count, open, hits);
}
