// What the x86 targets share: AVX2 code, compiled for each of them in its own namespace.

// Row m: the positions of the bits that are set in m, ascending.
struct CompressTable {
  uint8_t rows[256][8];
  constexpr CompressTable() : rows() {
    for (int mask = 0; mask < 256; ++mask) {
      int count = 0;
      for (uint8_t bit = 0; bit < 8; ++bit) {
        if (mask >> bit & 1) rows[mask][count++] = bit;
      }
    }
  }
};
constexpr CompressTable kCompress;

// Appends the slots of a bunch whose bit in `accepted` is set.
inline uint32_t append_bunch(uint32_t bunch, uint32_t accepted, uint32_t count, uint16_t* slots) {
  const __m128i places = _mm_cvtepu8_epi16(
      _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kCompress.rows[accepted])));
  const __m128i first = _mm_set1_epi16(static_cast<short>(bunch * kBunchSlots));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(slots + count), _mm_add_epi16(first, places));
  return count + static_cast<uint32_t>(__builtin_popcount(accepted));
}

inline uint32_t append_slots(uint32_t bunch, uint32_t accepted, uint32_t count, Hits* hits) {
  return append_bunch(bunch, accepted, count, hits->slots);
}

#include "core/kernels/generic-inl.h"

inline __m128i load128(const void* at) { return _mm_loadu_si128(static_cast<const __m128i*>(at)); }

inline __m256i load256(const void* at) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(at));
}

inline void store256(void* at, __m256i value) {
  _mm256_storeu_si256(static_cast<__m256i*>(at), value);
}

inline __m256i broadcast32(uint32_t value) { return _mm256_set1_epi32(static_cast<int>(value)); }

inline __m256i broadcast32_from(const uint8_t* at) {
  uint32_t value;
  __builtin_memcpy(&value, at, sizeof(value));
  return broadcast32(value);
}

// Eight 32-bit numbers below 65,536 as 16 bits each.
inline __m128i narrow(__m256i numbers) {
  return _mm_packus_epi32(_mm256_castsi256_si128(numbers), _mm256_extracti128_si256(numbers, 1));
}

// Which of eight 16-bit numbers are at most `largest`, as bits.
inline uint32_t at_most(__m128i numbers, __m128i largest) {
  const __m128i below = _mm_cmpeq_epi16(_mm_min_epu16(numbers, largest), numbers);
  return static_cast<uint32_t>(_mm_movemask_epi8(_mm_packs_epi16(below, _mm_setzero_si128())));
}

// Reads planes for the eight slots of a bunch at a time, through
//   __m256i Planes::read(at, plane_bytes, count, low, high): `count` planes from `at` on, the first
//   one in the highest of `count` bits.
template <typename Planes>
class Reader {
 public:
  Reader(const RibbonQuery& query, const PlaneRange& range)
      : query_(query),
        range_(range),
        low_offset_(broadcast32(query.low_offset)),
        high_offset_(broadcast32(query.high_offset)),
        used_(broadcast32((1U << range.count) - 1)),
        largest_(_mm_set1_epi16(static_cast<short>(query.num_clusters - 1))) {}

  uint32_t zeros(uint32_t bunch, uint32_t start) const {
    const __m256i zero = _mm256_cmpeq_epi32(read(bunch, start), _mm256_setzero_si256());
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(zero)));
  }

  uint32_t codes(uint32_t bunch, uint32_t start, uint16_t* codes) const {
    const __m128i packed = narrow(read(bunch, start));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes), packed);
    return at_most(packed, largest_);
  }

 private:
  __m256i read(uint32_t bunch, uint32_t start) const {
    const __m256i low = _mm256_add_epi32(load256(query_.low + bunch * kBunchSlots), low_offset_);
    const __m256i high = _mm256_add_epi32(load256(query_.high + bunch * kBunchSlots), high_offset_);
    const __m256i found =
        Planes::read(range_.begin + start, query_.plane_bytes, range_.count, low, high);
    const __m256i mask =
        _mm256_srl_epi32(_mm256_add_epi32(low, high), _mm_cvtsi32_si128(16 + range_.first_bit));
    return _mm256_and_si256(_mm256_xor_si256(found, mask), used_);
  }

  const RibbonQuery& query_;
  const PlaneRange range_;
  const __m256i low_offset_;
  const __m256i high_offset_;
  const __m256i used_;
  const __m128i largest_;
};

void query_xor(const XorQuery& query, Hits* hits) {
  uint16_t bases[3][kBunches];
  find_bases(query, bases);
  const __m256i offset = broadcast32(query.mask_offset);
  const __m256i used = broadcast32((1U << query.bits) - 1);
  const __m128i largest = _mm_set1_epi16(static_cast<short>(query.num_clusters - 1));
  uint32_t count = 0;
  for (uint32_t bunch = 0; bunch < kBunches; ++bunch) {
    const __m128i mask = narrow(_mm256_and_si256(
        _mm256_add_epi32(load256(query.masks + bunch * kBunchSlots), offset), used));
    const __m128i codes = _mm_xor_si128(_mm_xor_si128(mask, load128(query.cells + bases[0][bunch])),
                                        _mm_xor_si128(load128(query.cells + bases[1][bunch]),
                                                      load128(query.cells + bases[2][bunch])));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(hits->codes + bunch * kBunchSlots), codes);
    count = append_slots(bunch, at_most(codes, largest), count, hits);
  }
  hits->count = count;
}

void stream(const uint8_t* input, uint32_t num_bytes, uint8_t* output) {
  constexpr uint32_t kVectorBytes = 32;
  uint32_t at = 0;
  const uint32_t misaligned =
      static_cast<uint32_t>(reinterpret_cast<uintptr_t>(output)) % kVectorBytes;
  if (misaligned != 0) {
    at = kVectorBytes - misaligned < num_bytes ? kVectorBytes - misaligned : num_bytes;
    __builtin_memcpy(output, input, at);
  }
  for (; at + kVectorBytes <= num_bytes; at += kVectorBytes) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(output + at), load256(input + at));
  }
  __builtin_memcpy(output + at, input + at, num_bytes - at);
  _mm_sfence();
}
