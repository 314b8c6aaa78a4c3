#include <immintrin.h>

#include "core/kernels/kernel.h"

namespace wl {
namespace avx2 {
namespace {

#include "core/kernels/rans-inl.h"
#include "core/kernels/x86-inl.h"

// On the functions above.
#include "core/kernels/prefix-inl.h"
#include "core/kernels/prefix_avx2-inl.h"

// Parities by a table of nibbles.
struct Planes {
  static __m256i read(const uint8_t* at, uint32_t plane_bytes, int count, __m256i low,
                      __m256i high) {
    __m256i found = _mm256_setzero_si256();
    for (int left = count; left > 0; left -= 8) {
      const int chunk = left < 8 ? left : 8;
      found = _mm256_sll_epi32(found, _mm_cvtsi32_si128(chunk));
      found = _mm256_or_si256(found, read_chunk(at, plane_bytes, chunk, low, high));
      at += uint64_t{plane_bytes} * 8;
    }
    return found;
  }

 private:
  // Up to eight planes. The four bytes of a lane each keep a bit for each plane; all four are
  // folded together at the end.
  static __m256i read_chunk(const uint8_t* at, uint32_t plane_bytes, int chunk, __m256i low,
                            __m256i high) {
    const __m256i nibble = _mm256_set1_epi8(0x0f);
    const __m256i odd = _mm256_setr_epi8(0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0,  //
                                         0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0);
    __m256i bits = _mm256_setzero_si256();
    for (int i = 0; i < chunk; ++i, at += plane_bytes) {
      __m256i rows = _mm256_xor_si256(_mm256_and_si256(broadcast32_from(at), low),
                                      _mm256_and_si256(broadcast32_from(at + 4), high));
      rows = _mm256_xor_si256(rows, _mm256_srli_epi16(rows, 4));
      const __m256i parities = _mm256_shuffle_epi8(odd, _mm256_and_si256(rows, nibble));
      bits = _mm256_or_si256(_mm256_add_epi8(bits, bits), parities);
    }
    bits = _mm256_xor_si256(bits, _mm256_srli_epi32(bits, 16));
    bits = _mm256_xor_si256(bits, _mm256_srli_epi32(bits, 8));
    return _mm256_and_si256(bits, _mm256_set1_epi32(0xff));
  }
};

void query_ribbon(const RibbonQuery& query, Hits* hits) {
  query_ribbon_with<Reader<Planes>>(query, hits);
}

// Row m: for each bit of m that is set, how many are set below it.
struct ExpandTable {
  uint8_t rows[256][8];
  constexpr ExpandTable() : rows() {
    for (int mask = 0; mask < 256; ++mask) {
      uint8_t count = 0;
      for (int bit = 0; bit < 8; ++bit) {
        rows[mask][bit] = count;
        if (mask >> bit & 1) ++count;
      }
    }
  }
};
constexpr ExpandTable kExpand;

struct RansVectors {
  static constexpr uint32_t kLanes = 8;

  template <int n>
  static uint32_t decode(const RansStream& fixed, const uint8_t* contexts, uint32_t count,
                         RansStream* stream, uint16_t* symbols) {
    constexpr uint32_t kAllLanes = n * kLanes;
    const __m128i bits = _mm_cvtsi32_si128(fixed.probability_bits);
    const __m128i symbol_bits = _mm_cvtsi32_si128(fixed.symbol_bits);
    const __m128i both_bits = _mm_cvtsi32_si128(fixed.symbol_bits + fixed.probability_bits);
    const __m256i slot_mask = _mm256_set1_epi32((1 << fixed.probability_bits) - 1);
    const __m256i symbol_mask = _mm256_set1_epi32((1 << fixed.symbol_bits) - 1);
    const __m256i one = _mm256_set1_epi32(1);
    const int* packed = reinterpret_cast<const int*>(fixed.packed);
    __m256i states[n];
    for (int v = 0; v < n; ++v) states[v] = load256(stream->states + v * 8);
    const uint8_t* words = stream->words;
    uint32_t done = 0;
    // A load of 8 words behind those that the vectors before it took stays within all lanes'.
    while (count - done >= kAllLanes &&
           static_cast<uint64_t>(fixed.words_end - words) >= 2 * kAllLanes) {
      for (int v = 0; v < n; ++v, done += kLanes) {
        __m256i index = _mm256_and_si256(states[v], slot_mask);
        if (contexts) {
          const __m256i context = _mm256_cvtepu8_epi32(
              _mm_loadl_epi64(reinterpret_cast<const __m128i*>(contexts + done)));
          index = _mm256_or_si256(index, _mm256_sll_epi32(context, bits));
        }
        const __m256i slot = _mm256_i32gather_epi32(packed, index, 4);
        const __m256i frequency =
            _mm256_add_epi32(_mm256_and_si256(_mm256_srl_epi32(slot, symbol_bits), slot_mask), one);
        const __m256i state =
            _mm256_add_epi32(_mm256_mullo_epi32(frequency, _mm256_srl_epi32(states[v], bits)),
                             _mm256_srl_epi32(slot, both_bits));
        const __m256i is_low =
            _mm256_cmpeq_epi32(_mm256_srli_epi32(state, 16), _mm256_setzero_si256());
        const uint32_t takes =
            static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(is_low)));
        const __m256i places = _mm256_cvtepu8_epi32(
            _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kExpand.rows[takes])));
        const __m256i next =
            _mm256_permutevar8x32_epi32(_mm256_cvtepu16_epi32(load128(words)), places);
        const __m256i longer = _mm256_or_si256(_mm256_slli_epi32(state, 16), next);
        states[v] = _mm256_blendv_epi8(state, longer, is_low);
        words += 2 * __builtin_popcount(takes);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(symbols + done),
                         narrow(_mm256_and_si256(slot, symbol_mask)));
      }
    }
    for (int v = 0; v < n; ++v) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(stream->states + v * 8), states[v]);
    }
    stream->words = words;
    return done;
  }
};

void decode_rans(const uint8_t* contexts, uint32_t count, RansStream* stream, uint16_t* symbols) {
  decode_rans_with<RansVectors>(contexts, count, stream, symbols);
}

void query_prefix(const PrefixQuery& query, Hits* hits) {
  if (query.is_prepared) {
    query_prepared(query, hits);
  } else {
    query_prefix_with<Reader<Planes>>(query, hits);
  }
}

}  // namespace
}  // namespace avx2

const Kernel kKernelAvx2 = {"avx2",
                            avx2::hash_range,
                            avx2::unpack_cells,
                            avx2::query_ribbon,
                            avx2::query_prefix,
                            {avx2::kTableBytes, 0, avx2::prepare_planes},
                            avx2::query_xor,
                            avx2::decode_rans,
                            avx2::stream,
                            &kNoiseAvx2,
                            &kResponseAvx2};

}  // namespace wl
