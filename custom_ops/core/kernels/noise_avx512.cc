// GCC 12 takes the undefined operands of its own AVX-512 header for a mistake.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include "core/kernels/noise_kernel.h"
#include "core/kernels/response_kernel.h"

namespace wl {
namespace avx512 {
namespace {

constexpr int kWidth = 16;

#include "core/kernels/noise_types-inl.h"

inline Wides multiply_low(Wides a, Wides b) {
  return reinterpret_cast<Wides>(
      _mm512_mul_epu32(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
}

inline Floats square_root(Floats a) { return _mm512_sqrt_ps(a); }
inline Floats greater(Floats a, Floats b) { return _mm512_max_ps(a, b); }
inline Floats lesser(Floats a, Floats b) { return _mm512_min_ps(a, b); }

inline Floats look_up(const float* table, Words indices) {
  return _mm512_i32gather_ps(reinterpret_cast<__m512i>(indices), table, 4);
}

#include "core/kernels/noise_math-inl.h"

// On the functions above.
#include "core/kernels/noise-inl.h"
#include "core/kernels/response-inl.h"

}  // namespace
}  // namespace avx512

const NoiseKernel kNoiseAvx512 = {avx512::draw_normals, avx512::read_cells, avx512::program_cells};

const ResponseKernel kResponseAvx512 = {avx512::to_positions, avx512::to_weights};

}  // namespace wl
