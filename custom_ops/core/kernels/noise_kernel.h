// The loops over groups of noisy cells, one set for each CPU target, all with the same bits. Plain
// structs and function pointers only, as in kernel.h.
#ifndef WL_CORE_KERNELS_NOISE_KERNEL_H_
#define WL_CORE_KERNELS_NOISE_KERNEL_H_

#include <stdint.h>

namespace wl {

// Cells of a group: one Philox block in each of 16 lanes gives four of them, 16 cells apart.
constexpr uint32_t kGroupLanes = 16;
constexpr uint32_t kGroupCells = 64;

// What a draw depends on, the cell aside.
struct DrawKey {
  uint64_t seed;
  uint32_t stream;
  uint32_t tensor;
};

// What becomes of a cell of each level, at one time; see LevelTable and ReadNoise.
struct CellProgram {
  DrawKey programming;
  DrawKey drift;
  const float* mean;
  const float* deviation;
  const float* drift_mean;
  const float* drift_deviation;
  const float* read_deviation;
  bool has_drift;       // false: log_time counts for 0
  bool has_read_share;  // false: the share of the read noise counts for 0
  float log_time;
  float inverse_g_max;
  float scale, exponent, floor, cap, time_factor;
};

// Groups [first_group, first_group + num_groups); arrays begin with the first group's first cell.
// They need no alignment and may be the same, but not overlap otherwise.
struct NoiseKernel {
  void (*draw_normals)(const DrawKey& key, uint64_t first_group, uint64_t num_groups,
                       float* normals);
  void (*read_cells)(const DrawKey& key, uint64_t first_group, uint64_t num_groups,
                     const float* conductances, const float* deviations, float* reads);
  void (*program_cells)(const CellProgram& program, uint64_t first_group, uint64_t num_groups,
                        const uint16_t* levels, float* conductances, float* deviations);
};

extern const NoiseKernel kNoiseBaseline;
extern const NoiseKernel kNoiseAvx2;
extern const NoiseKernel kNoiseAvx512;

}  // namespace wl

#endif  // WL_CORE_KERNELS_NOISE_KERNEL_H_
