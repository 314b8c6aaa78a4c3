#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "core/kernels/noise_kernel.h"
#include "core/kernels/response_kernel.h"

namespace wl {
namespace baseline {
namespace {

constexpr int kWidth = 4;

#include "core/kernels/noise_types-inl.h"

#if defined(__SSE2__)
inline Wides multiply_low(Wides a, Wides b) {
  return reinterpret_cast<Wides>(
      _mm_mul_epu32(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
}

inline Floats square_root(Floats a) { return _mm_sqrt_ps(a); }
#else
inline Wides multiply_low(Wides a, Wides b) {
  return (a & uint64_t{0xffffffffU}) * (b & uint64_t{0xffffffffU});
}

inline Floats square_root(Floats a) {
  Floats root{};
  for (int i = 0; i < kWidth; ++i) root[i] = __builtin_sqrtf(a[i]);
  return root;
}
#endif

inline Floats greater(Floats a, Floats b) { return a > b ? a : b; }
inline Floats lesser(Floats a, Floats b) { return a < b ? a : b; }

inline Floats look_up(const float* table, Words indices) {
  Floats found{};
  for (int i = 0; i < kWidth; ++i) found[i] = table[indices[i]];
  return found;
}

#include "core/kernels/noise_math-inl.h"

// On the functions above.
#include "core/kernels/noise-inl.h"
#include "core/kernels/response-inl.h"

}  // namespace
}  // namespace baseline

const NoiseKernel kNoiseBaseline = {baseline::draw_normals, baseline::read_cells,
                                    baseline::program_cells};

const ResponseKernel kResponseBaseline = {baseline::to_positions, baseline::to_weights};

}  // namespace wl
