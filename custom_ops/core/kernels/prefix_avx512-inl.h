// Queries of prefix codes by AVX-512 and the products of bit matrices that come with it. The eight
// bytes that the planes of a level have in one place are an 8x8 matrix, whose product with a byte
// of coefficients is a parity for each plane; one instruction multiplies eight bytes of
// coefficients of eight slots.

constexpr uint32_t kMatrixBytes = 8;
constexpr uint32_t kVectorSlots = 64;  // whose answers fill a vector while they are bytes
constexpr uint32_t kOpenSlots = 16;    // open slots that are asked at a time

inline __m512i load512(const void* at) { return _mm512_loadu_si512(at); }

inline __m512i broadcast32x16(uint32_t value) { return _mm512_set1_epi32(static_cast<int>(value)); }

// The first plane's byte comes first in a matrix: its parity is the highest bit of a product.
void prepare_planes(const uint8_t* planes, uint32_t plane_bytes, int num_planes,
                    uint8_t* prepared) {
  constexpr uint32_t kStep = 8;
  const __m512i places = _mm512_setr_epi64(
      0x3830282018100800, 0x3931292119110901, 0x3a322a221a120a02, 0x3b332b231b130b03,
      0x3c342c241c140c04, 0x3d352d251d150d05, 0x3e362e261e160e06, 0x3f372f271f170f07);
  for (uint32_t next = 0; next < plane_bytes; next += kStep) {
    const uint32_t at = next + kStep <= plane_bytes ? next : plane_bytes - kStep;
    uint64_t rows[kLevelPlanes] = {};
    for (int plane = 0; plane < num_planes; ++plane) {
      rows[plane] = load64(planes + uint64_t{plane_bytes} * static_cast<uint32_t>(plane) + at);
    }
    _mm512_storeu_si512(prepared + at * kMatrixBytes,
                        _mm512_permutexvar_epi8(places, load512(rows)));
  }
}

// Adds up the 64-bit numbers 2 i and 2 i + 1 of both vectors; those of a and b alternate.
inline __m512i add_neighbours(__m512i a, __m512i b) {
  return _mm512_xor_si512(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

// The same for numbers of 128 bits, those of a before those of b.
inline __m512i add_neighbours128(__m512i a, __m512i b) {
  return _mm512_xor_si512(_mm512_shuffle_i64x2(a, b, 0x88), _mm512_shuffle_i64x2(a, b, 0xdd));
}

// The bytes of eight 64-bit coefficients, byte 0 of all, then byte 1 of all and so on.
inline __m512i lower_bytes(__m512i low, __m512i high) {
  const __m512i places = _mm512_setr_epi64(
      0x1c1814100c080400, 0x1d1915110d090501, 0x1e1a16120e0a0602, 0x1f1b17130f0b0703,
      0x5c5854504c484440, 0x5d5955514d494541, 0x5e5a56524e4a4642, 0x5f5b57534f4b4743);
  return _mm512_permutex2var_epi8(low, places, high);
}

// Those of the other eight of sixteen.
inline __m512i upper_bytes(__m512i low, __m512i high) {
  const __m512i places = _mm512_setr_epi64(
      0x3c3834302c282420, 0x3d3935312d292521, 0x3e3a36322e2a2622, 0x3f3b37332f2b2723,
      0x7c7874706c686460, 0x7d7975716d696561, 0x7e7a76726e6a6662, 0x7f7b77736f6b6763);
  return _mm512_permutex2var_epi8(low, places, high);
}

// Which of 64 bytes are below a limit of at most 256.
inline uint64_t below(__m512i bytes, uint32_t limit) {
  if (limit == 0) return 0;
  return _mm512_cmple_epu8_mask(bytes, _mm512_set1_epi8(static_cast<char>(limit - 1)));
}

inline uint32_t count_bits(uint64_t bits) {
  return static_cast<uint32_t>(__builtin_popcountll(bits));
}

// Appends those of 64 slots, from `first` on, whose bit is set.
inline uint32_t append_slots64(uint32_t first, uint64_t accepted, uint32_t count, uint16_t* slots) {
  alignas(64) static constexpr uint16_t kFirst[32] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10,
                                                      11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
                                                      22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
  const __m512i lower =
      _mm512_add_epi16(load512(kFirst), _mm512_set1_epi16(static_cast<short>(first)));
  const __m512i upper = _mm512_add_epi16(lower, _mm512_set1_epi16(32));
  const uint32_t lower_bits = static_cast<uint32_t>(accepted);
  const uint32_t upper_bits = static_cast<uint32_t>(accepted >> 32);
  _mm512_storeu_si512(slots + count, _mm512_maskz_compress_epi16(lower_bits, lower));
  count += count_bits(lower_bits);
  _mm512_storeu_si512(slots + count, _mm512_maskz_compress_epi16(upper_bits, upper));
  return count + count_bits(upper_bits);
}

// The slots of which the planes read so far do not tell whether they have a code.
struct OpenSlots {
  uint32_t count;
  alignas(64) uint16_t slots[kSlots + kVectorSlots];
  alignas(64) uint8_t answers[kSlots + kVectorSlots];  // of the first level
};

// Reads the first level for all slots, 64 at a time.
class FirstLevel {
 public:
  explicit FirstLevel(const PrefixQuery& query) : query_(query.top), level_(query.levels[0]) {
    find_starts(query.top, starts_);
  }

  void query(Hits* hits, OpenSlots* open) const {
    const __m128i unread = _mm_cvtsi32_si128(kLevelPlanes - level_.end);
    uint32_t count = 0;
    uint32_t num_open = 0;
    for (uint32_t slot = 0; slot < kSlots; slot += kVectorSlots) {
      const __m512i answers = read(slot);
      const __m512i lower = _mm512_cvtepu8_epi16(_mm512_castsi512_si256(answers));
      const __m512i upper = _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(answers, 1));
      _mm512_storeu_si512(hits->codes + slot, _mm512_srl_epi16(lower, unread));
      _mm512_storeu_si512(hits->codes + slot + 32, _mm512_srl_epi16(upper, unread));
      const uint64_t has_code = below(answers, level_.limit >> kLevelPlanes);
      count = append_slots64(slot, has_code, count, hits->slots);
      const uint64_t is_open = below(answers, level_.open_limit >> kLevelPlanes) & ~has_code;
      _mm512_storeu_si512(open->answers + num_open, _mm512_maskz_compress_epi8(is_open, answers));
      num_open = append_slots64(slot, is_open, num_open, open->slots);
    }
    hits->count = count;
    open->count = num_open;
  }

 private:
  // The answers of 64 slots.
  __m512i read(uint32_t slot) const {
    const __m512i low_offset = broadcast32x16(query_.low_offset);
    const __m512i high_offset = broadcast32x16(query_.high_offset);
    __m512i sums[4];
    __m512i pairs[4];
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t first = slot + 16 * i;
      const __m512i low = _mm512_add_epi32(load512(query_.low + first), low_offset);
      const __m512i high = _mm512_add_epi32(load512(query_.high + first), high_offset);
      sums[i] = _mm512_add_epi32(low, high);
      pairs[i] = add_neighbours(products(first, lower_bytes(low, high)),
                                products(first + kBunchSlots, upper_bytes(low, high)));
    }
    const __m512i highest = _mm512_setr_epi64(0x1f1b17130f0b0703, 0x3f3b37332f2b2723,
                                              0x5f5b57534f4b4743, 0x7f7b77736f6b6763, 0, 0, 0, 0);
    const __m512i lower = _mm512_permutex2var_epi8(sums[0], highest, sums[1]);
    const __m512i upper = _mm512_permutex2var_epi8(sums[2], highest, sums[3]);
    const __m512i masks = _mm512_inserti64x4(lower, _mm512_castsi512_si256(upper), 1);
    const __m512i parities = add_neighbours128(add_neighbours128(pairs[0], pairs[1]),
                                               add_neighbours128(pairs[2], pairs[3]));
    return _mm512_xor_si512(parities, masks);
  }

  // What each byte of a bunch's coefficients adds to the parities.
  __m512i products(uint32_t slot, __m512i bytes) const {
    const uint8_t* matrices = level_.prepared + starts_[slot / kBunchSlots] * kMatrixBytes;
    return _mm512_gf2p8affine_epi64_epi8(bytes, load512(matrices), 0);
  }

  const RibbonQuery& query_;
  const PrefixLevel& level_;
  uint16_t starts_[kBunches];
};

// Where each of 16 slots begins in the matrices of a level, in bytes.
inline __m512i find_matrices(const PrefixLevel& level, __m512i slots) {
  const __m512i bunches = _mm512_slli_epi32(_mm512_srli_epi32(slots, 3), 25);
  const __m512i hashes = _mm512_add_epi32(bunches, broadcast32x16(level.phase));
  const __m512i starts =
      _mm512_mulhi_epu16(_mm512_srli_epi32(hashes, 16), broadcast32x16(level.plane_bytes - 7));
  return _mm512_slli_epi32(starts, 3);
}

// As FirstLevel's, though each of the eight slots has matrices of its own.
inline __m512i own_products(const uint8_t* matrices, const uint32_t* at, __m512i bytes) {
  __m512i found = _mm512_gf2p8affine_epi64_epi8(bytes, load512(matrices + at[0]), 0);
  for (uint32_t k = 1; k < kBunchSlots; ++k) {
    const __mmask64 own = 0x0101010101010101U << k;
    found = _mm512_mask_gf2p8affine_epi64_epi8(found, own, bytes, load512(matrices + at[k]), 0);
  }
  return found;
}

// What the planes of a level give for 16 slots, at their place in the answers.
inline __m512i read_open(const PrefixLevel& level, const uint32_t* at, __m512i low, __m512i high) {
  const __m512i sums =
      add_neighbours(own_products(level.prepared, at, lower_bytes(low, high)),
                     own_products(level.prepared, at + kBunchSlots, upper_bytes(low, high)));
  const __m256i quarters =
      _mm256_xor_si256(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64(sums, 1));
  const __m128i parities =
      _mm_xor_si128(_mm256_castsi256_si128(quarters), _mm256_extracti128_si256(quarters, 1));
  const __m512i bits = _mm512_slli_epi32(_mm512_cvtepu8_epi32(parities), kLevelPlanes);
  return _mm512_srl_epi32(bits, _mm_cvtsi32_si128(level.end - level.num_planes));
}

// Where an answer's code is, if it is one of a level.
inline __m512i find_codes(const PrefixLevel& level, __m512i answers) {
  return _mm512_add_epi32(
      _mm512_srl_epi32(answers, _mm_cvtsi32_si128(2 * kLevelPlanes - level.end)),
      broadcast32x16(level.rank_offset));
}

// Appends those of 16 slots whose bit is set. Without a branch: which they are is as good as
// random.
inline void append_open(__mmask16 has_code, __m512i slots, __m512i codes, Hits* hits) {
  alignas(64) uint32_t places[kOpenSlots];
  alignas(64) uint32_t all_codes[kOpenSlots];
  _mm512_store_si512(places, _mm512_mask_mov_epi32(broadcast32x16(kSlots), has_code, slots));
  _mm512_store_si512(all_codes, codes);
  for (uint32_t k = 0; k < kOpenSlots; ++k) {
    hits->codes[places[k]] = static_cast<uint16_t>(all_codes[k]);
  }
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(hits->slots + hits->count),
                      _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(has_code, slots)));
  hits->count += count_bits(has_code);
}

// Reads the levels after the first, 16 slots at a time.
class LowerLevels {
 public:
  // What stands behind the open slots is read, too, and not used.
  LowerLevels(const RibbonQuery& query, const OpenSlots& open) : num_open_(open.count) {
    const __m512i low_offset = broadcast32x16(query.low_offset);
    const __m512i high_offset = broadcast32x16(query.high_offset);
    for (uint32_t i = 0; i < num_open_; i += kOpenSlots) {
      const __m512i slots = _mm512_and_si512(_mm512_cvtepu16_epi32(load256(open.slots + i)),
                                             broadcast32x16(kSlots - 1));
      const __m512i low = _mm512_add_epi32(_mm512_i32gather_epi32(slots, query.low, 4), low_offset);
      const __m512i high =
          _mm512_add_epi32(_mm512_i32gather_epi32(slots, query.high, 4), high_offset);
      const __m512i masks = _mm512_srli_epi32(_mm512_add_epi32(low, high), 16);
      const __m512i answers =
          _mm512_slli_epi32(_mm512_cvtepu8_epi32(load128(open.answers + i)), kLevelPlanes);
      _mm512_storeu_si512(slots_ + i, slots);
      _mm512_storeu_si512(low_ + i, low);
      _mm512_storeu_si512(high_ + i, high);
      _mm512_storeu_si512(answers_ + i,
                          _mm512_or_si512(answers, _mm512_and_si512(masks, broadcast32x16(0xff))));
    }
  }

  uint32_t num_open() const { return num_open_; }

  // Reads one level; what is left open moves to the front.
  void query(const PrefixLevel& level, Hits* hits) {
    for (uint32_t i = 0; i < num_open_; i += kOpenSlots) {
      _mm512_storeu_si512(at_ + i, find_matrices(level, load512(slots_ + i)));
    }
    const __m512i limit = broadcast32x16(level.limit);
    const __m512i open_limit = broadcast32x16(level.open_limit);
    uint32_t num_left = 0;
    for (uint32_t i = 0; i < num_open_; i += kOpenSlots) {
      const __m512i slots = load512(slots_ + i);
      const __m512i low = load512(low_ + i);
      const __m512i high = load512(high_ + i);
      const __m512i answers =
          _mm512_xor_si512(load512(answers_ + i), read_open(level, at_ + i, low, high));
      const __mmask16 used = used_from(i);
      const __mmask16 has_code = _mm512_mask_cmplt_epu32_mask(used, answers, limit);
      const __mmask16 is_open = _mm512_mask_cmplt_epu32_mask(used, answers, open_limit) & ~has_code;
      append_open(has_code, slots, find_codes(level, answers), hits);
      _mm512_storeu_si512(slots_ + num_left, _mm512_maskz_compress_epi32(is_open, slots));
      _mm512_storeu_si512(low_ + num_left, _mm512_maskz_compress_epi32(is_open, low));
      _mm512_storeu_si512(high_ + num_left, _mm512_maskz_compress_epi32(is_open, high));
      _mm512_storeu_si512(answers_ + num_left, _mm512_maskz_compress_epi32(is_open, answers));
      num_left += count_bits(is_open);
    }
    num_open_ = num_left;
  }

  // Reads all levels that are left for the last 16 slots, whether they need them or not: a level
  // does not wait for the one before.
  void finish(const PrefixLevel* levels, int num_levels, Hits* hits) {
    const __m512i slots = load512(slots_);
    const __m512i low = load512(low_);
    const __m512i high = load512(high_);
    alignas(64) uint32_t at[2 * kLevelPlanes][kOpenSlots];
    for (int i = 0; i < num_levels; ++i) {
      _mm512_storeu_si512(at[i], find_matrices(levels[i], slots));
    }
    __m512i answers = load512(answers_);
    __m512i codes = _mm512_setzero_si512();
    __mmask16 is_open = used_from(0);
    __mmask16 accepted = 0;
    for (int i = 0; i < num_levels; ++i) {
      answers = _mm512_xor_si512(answers, read_open(levels[i], at[i], low, high));
      const __mmask16 has_code =
          _mm512_mask_cmplt_epu32_mask(is_open, answers, broadcast32x16(levels[i].limit));
      codes = _mm512_mask_mov_epi32(codes, has_code, find_codes(levels[i], answers));
      is_open =
          _mm512_mask_cmplt_epu32_mask(is_open, answers, broadcast32x16(levels[i].open_limit)) &
          ~has_code;
      accepted |= has_code;
    }
    append_open(accepted, slots, codes, hits);
  }

 private:
  __mmask16 used_from(uint32_t i) const {
    return static_cast<__mmask16>(num_open_ - i < kOpenSlots ? (1U << (num_open_ - i)) - 1
                                                             : 0xffff);
  }

  uint32_t num_open_;
  alignas(64) uint32_t slots_[kSlots + kOpenSlots];
  alignas(64) uint32_t low_[kSlots + kOpenSlots];
  alignas(64) uint32_t high_[kSlots + kOpenSlots];
  alignas(64)
      uint32_t answers_[kSlots + kOpenSlots];  // those bits that are not read yet are the masks'
  alignas(64) uint32_t at_[kSlots + kOpenSlots];
};

inline void query_prepared(const PrefixQuery& query, Hits* hits) {
  OpenSlots open;
  FirstLevel(query).query(hits, &open);
  LowerLevels lower(query.top, open);
  int level = 1;
  while (level < query.num_levels && lower.num_open() > kOpenSlots) {
    lower.query(query.levels[level++], hits);
  }
  if (lower.num_open() > 0) lower.finish(query.levels + level, query.num_levels - level, hits);
}
