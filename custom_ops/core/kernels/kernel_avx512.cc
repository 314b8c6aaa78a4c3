#include <immintrin.h>

#include "core/kernels/kernel.h"

namespace wl {
namespace avx512 {
namespace {

#include "core/kernels/rans-inl.h"
#include "core/kernels/x86-inl.h"

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

}  // namespace
}  // namespace avx512

const Kernel kKernelAvx512 = {
    "avx512",          avx512::hash_range,        avx512::unpack_cells, avx512::query_ribbon,
    avx512::query_xor, avx512::decode_rans_plain, avx512::stream};

}  // namespace wl
