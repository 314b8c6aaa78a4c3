#include <immintrin.h>

#include "core/kernels/noise_kernel.h"
#include "core/kernels/response_kernel.h"

namespace wl {
namespace avx2 {
namespace {

constexpr int kWidth = 8;

#include "core/kernels/noise_types-inl.h"

inline Wides multiply_low(Wides a, Wides b) {
  return reinterpret_cast<Wides>(
      _mm256_mul_epu32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
}

inline Floats square_root(Floats a) { return _mm256_sqrt_ps(a); }
inline Floats greater(Floats a, Floats b) { return _mm256_max_ps(a, b); }
inline Floats lesser(Floats a, Floats b) { return _mm256_min_ps(a, b); }

inline Floats look_up(const float* table, Words indices) {
  return _mm256_i32gather_ps(table, reinterpret_cast<__m256i>(indices), 4);
}

#include "core/kernels/noise_math-inl.h"

// On the functions above.
#include "core/kernels/noise-inl.h"
#include "core/kernels/response-inl.h"

}  // namespace
}  // namespace avx2

const NoiseKernel kNoiseAvx2 = {avx2::draw_normals, avx2::read_cells, avx2::program_cells};

const ResponseKernel kResponseAvx2 = {avx2::to_positions, avx2::to_weights};

}  // namespace wl
