#include <immintrin.h>

#include "core/kernels/kernel.h"

namespace wl {
namespace avx2 {
namespace {

#include "core/kernels/rans-inl.h"
#include "core/kernels/x86-inl.h"

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

}  // namespace
}  // namespace avx2

const Kernel kKernelAvx2 = {
    "avx2",          avx2::hash_range,        avx2::unpack_cells, avx2::query_ribbon,
    avx2::query_xor, avx2::decode_rans_plain, avx2::stream};

}  // namespace wl
