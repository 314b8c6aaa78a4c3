// Weights out of analog cells: by a noisy read, or as they were meant.
#ifndef WL_CORE_ANALOG_READ_H_
#define WL_CORE_ANALOG_READ_H_

#include <cstdint>

#include "core/analog_blob.h"
#include "core/analog_layout.h"
#include "core/analog_state.h"
#include "core/element.h"

namespace wl {

// Chunks of weights that a task reads, some 0.1 ms of work.
constexpr uint64_t kAnalogTaskChunks = 16;

// One read of the weights of task `task`, chunks kAnalogTaskChunks * task up to the next task's, on
// which alone the draws of `read_seed` depend. `layout` and `state` are of `view`.
//   output: the whole tensor, aligned to its element; this task's part of it is written.
// Any threads may read different parts, and different tensors, of one state at a time. Allocates
// nothing; takes about 60 KiB of stack.
void read_analog_task(const AnalogView& view, const AnalogLayout& layout, const AnalogState& state,
                      uint64_t read_seed, ElementType type, uint64_t task, void* output);

// Likewise what the cells were meant to hold, without any noise.
void decode_analog_task(const AnalogView& view, const AnalogLayout& layout, ElementType type,
                        uint64_t task, void* output);

inline uint64_t num_analog_tasks(const AnalogLayout& layout) {
  return (layout.num_chunks() + kAnalogTaskChunks - 1) / kAnalogTaskChunks;
}

}  // namespace wl

#endif  // WL_CORE_ANALOG_READ_H_
