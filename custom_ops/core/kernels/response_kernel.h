// The loops from conductances to weights, one set for each CPU target, all with the same bits.
// Plain structs and function pointers only, as in kernel.h.
#ifndef WL_CORE_KERNELS_RESPONSE_KERNEL_H_
#define WL_CORE_KERNELS_RESPONSE_KERNEL_H_

#include <stdint.h>

namespace wl {

constexpr uint32_t kResponseIntervals = 128;

// A piecewise linear function of the conductance g: intercepts[k] + slopes[k] * g, with
// k = min(int(g * inverse_step), kResponseIntervals - 1).
struct ResponseCurve {
  float inverse_step;
  const float* intercepts;  // [kResponseIntervals]
  const float* slopes;      // likewise
};

// weight = factor * (low + span * position), low and span by label.
struct WeightScales {
  const float* lows;      // [labels that occur]
  const float* spans;     // likewise
  const uint8_t* labels;  // [count], or null: all 0
  const float* factors;   // [count], or null: all `factor`
  float factor;
};

// Arrays need no alignment and may be the same, but not overlap otherwise.
struct ResponseKernel {
  // The positions of conductances, in their place. Whatever they are, nothing else is read.
  void (*to_positions)(const ResponseCurve& curve, uint32_t count, float* values);
  void (*to_weights)(const WeightScales& scales, const float* positions, uint32_t count,
                     float* weights);
};

extern const ResponseKernel kResponseBaseline;
extern const ResponseKernel kResponseAvx2;
extern const ResponseKernel kResponseAvx512;

}  // namespace wl

#endif  // WL_CORE_KERNELS_RESPONSE_KERNEL_H_
