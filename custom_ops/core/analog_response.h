// What a conductance that was read says of a weight: the position in its symbol's interval.
#ifndef WL_CORE_ANALOG_RESPONSE_H_
#define WL_CORE_ANALOG_RESPONSE_H_

#include <cstdint>
#include <vector>

#include "core/analog_blob.h"
#include "core/kernels/response_kernel.h"
#include "core/status.h"

namespace wl {

// Piecewise linear functions of the conductance, one for each curve that symbols have:
//   position = intercepts[t][k] + slopes[t][k] * g, k = min(int(g * inverse_step), 127)
struct ResponseTables {
  float inverse_step = 0;
  std::vector<float> intercepts;   // [num_curves][kResponseIntervals]
  std::vector<float> slopes;       // likewise
  std::vector<uint8_t> of_symbol;  // [num_symbols], the curve's number

  uint32_t num_curves() const {
    return static_cast<uint32_t>(intercepts.size() / kResponseIntervals);
  }
};

// What is known of the drift when a read is interpreted.
struct DriftEstimate {
  double log_time = 0;  // at which the response is inverted
  double gain = 1;      // by which conductances are divided, without the inverse
};

// The drift from what reference cells read now over what they read at time 0. Without
// compensation or drift the estimate is that of no drift.
DriftEstimate estimate_drift(const AnalogView& view, double ratio);

// Errors: kDamaged where the mean response does not rise, so that it has no inverse;
// kOutOfMemory.
Status build_response(const AnalogView& view, const DriftEstimate& drift, ResponseTables* tables);

// The position that a target x, 0 to 1, stands for: the inverse of a symbol's curve, straight on
// outside of 0 to 1.
double invert_curve(double curve, double x);

}  // namespace wl

#endif  // WL_CORE_ANALOG_RESPONSE_H_
