// Cells as they are after programming and drift, and reads of them. FORMAT.md, "Draws".
//
// A draw depends on (seed, stream, tensor, cell) alone: any first, count and number of threads give
// the same bits, and so does every CPU target. Cells come in groups of 64, which cost the least
// where `first` and `count` are multiples of 64; a group that is cut is drawn whole at each side of
// the cut.
//
// In all of these, pointers are to cell `first`, have `count` cells, need no alignment, and may not
// overlap unless it says so. first + count must be at most 2^64 - 64. Nothing allocates, throws or
// locks; any number of threads may run at a time.
#ifndef WL_CORE_CELL_NOISE_H_
#define WL_CORE_CELL_NOISE_H_

#include <cstdint>

#include "core/device_model.h"

namespace wl {

// The streams of draws. Those of a seed are independent of each other.
constexpr uint32_t kProgrammingStream = 0;  // with the write seed
constexpr uint32_t kDriftStream = 1;        // with the write seed
constexpr uint32_t kReadStream = 2;         // with the read seed
constexpr uint32_t kReferenceStream = 3;    // reference read at the time asked for; write seed
constexpr uint32_t kReferenceStream0 = 4;   // reference read at time 0; write seed

// Which cells were written: the seed, and the number of their tensor.
struct CellSource {
  uint64_t write_seed;
  uint32_t tensor;
};

// The state of cells some time after they were programmed.
//   levels: each below table.mean.size(), which nothing checks here.
//   time_s: 0 or more, finite.
//   conductances: uS, 0 or more.
//   deviations: uS, 0 or more, of one read.
void program_cells(const DeviceModel& device, const LevelTable& table, const CellSource& source,
                   double time_s, const uint16_t* levels, uint64_t first, uint64_t count,
                   float* conductances, float* deviations);

// One read, uS: max(0, conductance + deviation * z). `reads` may be either of the inputs.
void read_cells(uint64_t read_seed, uint32_t stream, uint32_t tensor, const float* conductances,
                const float* deviations, uint64_t first, uint64_t count, float* reads);

// The standard normals that the two above take.
void draw_normals(uint64_t seed, uint32_t stream, uint32_t tensor, uint64_t first, uint64_t count,
                  float* normals);

}  // namespace wl

#endif  // WL_CORE_CELL_NOISE_H_
