// GCC 12 takes the undefined operands of its own AVX-512 header for a mistake.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include "core/kernels/kernel.h"

namespace wl {
namespace avx512 {
namespace {

#include "core/kernels/rans-inl.h"
#include "core/kernels/x86-inl.h"

// On the functions above.
#include "core/kernels/prefix-inl.h"
#include "core/kernels/prefix_avx512-inl.h"

// Parities by AVX-512's count of bits. Vectors of 256 bits: a bunch is no wider.
struct Planes {
  static __m256i read(const uint8_t* at, uint32_t plane_bytes, int count, __m256i low,
                      __m256i high) {
    constexpr int kXorAnd = 0x78;    // a ^ (b & c), for operands a, b, c
    constexpr int kOrLowBit = 0xf8;  // a | (b & c)
    const __m256i one = _mm256_set1_epi32(1);
    __m256i found = _mm256_setzero_si256();
    for (int i = 0; i < count; ++i, at += plane_bytes) {
      const __m256i rows = _mm256_ternarylogic_epi32(_mm256_and_si256(broadcast32_from(at), low),
                                                     broadcast32_from(at + 4), high, kXorAnd);
      found = _mm256_ternarylogic_epi32(_mm256_add_epi32(found, found), _mm256_popcnt_epi32(rows),
                                        one, kOrLowBit);
    }
    return found;
  }
};

void query_ribbon(const RibbonQuery& query, Hits* hits) {
  query_ribbon_with<Reader<Planes>>(query, hits);
}

struct RansVectors {
  static constexpr uint32_t kLanes = 16;

  template <int n>
  static uint32_t decode(const RansStream& fixed, const uint8_t* contexts, uint32_t count,
                         RansStream* stream, uint16_t* symbols) {
    constexpr uint32_t kAllLanes = n * kLanes;
    const __m128i bits = _mm_cvtsi32_si128(fixed.probability_bits);
    const __m128i symbol_bits = _mm_cvtsi32_si128(fixed.symbol_bits);
    const __m128i both_bits = _mm_cvtsi32_si128(fixed.symbol_bits + fixed.probability_bits);
    const __m512i slot_mask = _mm512_set1_epi32((1 << fixed.probability_bits) - 1);
    const __m512i symbol_mask = _mm512_set1_epi32((1 << fixed.symbol_bits) - 1);
    const __m512i one = _mm512_set1_epi32(1);
    const __m512i low = _mm512_set1_epi32(kRansLow);
    __m512i states[n];
    for (int v = 0; v < n; ++v) states[v] = _mm512_loadu_si512(stream->states + v * 16);
    const uint8_t* words = stream->words;
    uint32_t done = 0;
    // A load of 16 words behind those that the vectors before it took stays within all lanes'.
    while (count - done >= kAllLanes &&
           static_cast<uint64_t>(fixed.words_end - words) >= 2 * kAllLanes) {
      for (int v = 0; v < n; ++v, done += kLanes) {
        __m512i index = _mm512_and_si512(states[v], slot_mask);
        if (contexts) {
          const __m512i context = _mm512_cvtepu8_epi32(load128(contexts + done));
          index = _mm512_or_si512(index, _mm512_sll_epi32(context, bits));
        }
        const __m512i slot = _mm512_i32gather_epi32(index, fixed.packed, 4);
        const __m512i frequency =
            _mm512_add_epi32(_mm512_and_si512(_mm512_srl_epi32(slot, symbol_bits), slot_mask), one);
        const __m512i state =
            _mm512_add_epi32(_mm512_mullo_epi32(frequency, _mm512_srl_epi32(states[v], bits)),
                             _mm512_srl_epi32(slot, both_bits));
        const __mmask16 takes = _mm512_cmplt_epu32_mask(state, low);
        const __m512i next =
            _mm512_maskz_expand_epi32(takes, _mm512_cvtepu16_epi32(load256(words)));
        states[v] = _mm512_mask_or_epi32(state, takes, _mm512_slli_epi32(state, 16), next);
        words += 2 * __builtin_popcount(takes);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(symbols + done),
                            _mm512_cvtepi32_epi16(_mm512_and_si512(slot, symbol_mask)));
      }
    }
    for (int v = 0; v < n; ++v) _mm512_storeu_si512(stream->states + v * 16, states[v]);
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
}  // namespace avx512

const Kernel kKernelAvx512 = {"avx512",
                              avx512::hash_range,
                              avx512::unpack_cells,
                              avx512::query_ribbon,
                              avx512::query_prefix,
                              {avx512::kMatrixBytes, avx512::kMatrixBytes, avx512::prepare_planes},
                              avx512::query_xor,
                              avx512::decode_rans,
                              avx512::stream,
                              &kNoiseAvx512,
                              &kResponseAvx512};

}  // namespace wl
