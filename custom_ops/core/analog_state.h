// The cells of a tensor as they are some time after a write, ready to be read.
#ifndef WL_CORE_ANALOG_STATE_H_
#define WL_CORE_ANALOG_STATE_H_

#include <cstdint>
#include <memory>

#include "core/analog_blob.h"
#include "core/analog_layout.h"
#include "core/analog_response.h"
#include "core/status.h"

namespace wl {

// Made once, then read by any threads.
class AnalogState {
 public:
  // Programs all cells with the seed and lets the time pass. `layout` is of `view`; neither is
  // kept.
  //   time_s: 0 to kMaxTimeS.
  // Errors: kOutOfMemory; kDamaged where at that time the response of the device has no inverse.
  static Status program(const AnalogView& view, const AnalogLayout& layout, uint64_t write_seed,
                        float time_s, const TaskRunner& run, AnalogState* state);

  uint64_t write_seed() const { return write_seed_; }
  float time_s() const { return time_s_; }
  const float* conductances() const { return conductances_.get(); }  // [cells], uS
  const float* deviations() const { return deviations_.get(); }      // of a read, likewise
  const ResponseTables& response() const { return response_; }

 private:
  uint64_t write_seed_ = 0;
  float time_s_ = 0;
  uint64_t num_cells_ = 0;
  std::unique_ptr<float[]> conductances_;
  std::unique_ptr<float[]> deviations_;
  ResponseTables response_;
};

}  // namespace wl

#endif  // WL_CORE_ANALOG_STATE_H_
