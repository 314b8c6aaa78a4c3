#include "core/cell_noise.h"

#include <algorithm>
#include <cstring>

#include "core/kernels/noise_kernel.h"
#include "core/kernels/targets.h"

namespace wl {
namespace {

// Cells [first, first + count) as whole groups with a cut one at either end:
//   run_whole(group, num_groups, offset): groups whose first cell is at `offset` of the arrays
//   run_cut(group, skip, offset, size): cells skip .. skip + size - 1 of a group
template <typename RunWhole, typename RunCut>
void split(uint64_t first, uint64_t count, const RunWhole& run_whole, const RunCut& run_cut) {
  uint64_t offset = 0;
  const uint64_t skip = first % kGroupCells;
  if (skip != 0 && count != 0) {
    offset = std::min(count, kGroupCells - skip);
    run_cut(first / kGroupCells, skip, uint64_t{0}, offset);
  }
  const uint64_t group = (first + offset) / kGroupCells;
  const uint64_t num_groups = (count - offset) / kGroupCells;
  if (num_groups != 0) run_whole(group, num_groups, offset);
  offset += num_groups * kGroupCells;
  if (offset < count) run_cut(group + num_groups, uint64_t{0}, offset, count - offset);
}

template <typename T>
void copy(const T* from, uint64_t count, T* to) {
  std::memcpy(to, from, static_cast<size_t>(count) * sizeof(T));
}

}  // namespace

void program_cells(const DeviceModel& device, const LevelTable& table, const CellSource& source,
                   double time_s, const uint16_t* levels, uint64_t first, uint64_t count,
                   float* conductances, float* deviations) {
  const NoiseKernel& kernel = *current_kernel().noise;
  const ReadNoise& noise = device.read_noise();
  CellProgram program;
  program.programming = {source.write_seed, kProgrammingStream, source.tensor};
  program.drift = {source.write_seed, kDriftStream, source.tensor};
  program.mean = table.mean.data();
  program.deviation = table.deviation.data();
  program.drift_mean = table.drift_mean.data();
  program.drift_deviation = table.drift_deviation.data();
  program.read_deviation = table.read_deviation.data();
  program.log_time = static_cast<float>(device.log_time(time_s));
  program.inverse_g_max = static_cast<float>(1 / device.g_max());
  program.scale = noise.scale;
  program.exponent = noise.exponent;
  program.floor = noise.floor;
  program.cap = noise.cap;
  program.time_factor = static_cast<float>(device.read_time_factor(time_s));
  program.has_drift = device.has_drift() && program.log_time > 0;
  program.has_read_share = noise.scale > 0 && program.time_factor > 0;
  split(
      first, count,
      [&](uint64_t group, uint64_t num_groups, uint64_t offset) {
        kernel.program_cells(program, group, num_groups, levels + offset, conductances + offset,
                             deviations + offset);
      },
      [&](uint64_t group, uint64_t skip, uint64_t offset, uint64_t size) {
        uint16_t whole_levels[kGroupCells] = {};
        float whole_conductances[kGroupCells], whole_deviations[kGroupCells];
        copy(levels + offset, size, whole_levels + skip);
        kernel.program_cells(program, group, 1, whole_levels, whole_conductances, whole_deviations);
        copy(whole_conductances + skip, size, conductances + offset);
        copy(whole_deviations + skip, size, deviations + offset);
      });
}

void read_cells(uint64_t read_seed, uint32_t stream, uint32_t tensor, const float* conductances,
                const float* deviations, uint64_t first, uint64_t count, float* reads) {
  const NoiseKernel& kernel = *current_kernel().noise;
  const DrawKey key{read_seed, stream, tensor};
  split(
      first, count,
      [&](uint64_t group, uint64_t num_groups, uint64_t offset) {
        kernel.read_cells(key, group, num_groups, conductances + offset, deviations + offset,
                          reads + offset);
      },
      [&](uint64_t group, uint64_t skip, uint64_t offset, uint64_t size) {
        float whole_conductances[kGroupCells] = {}, whole_deviations[kGroupCells] = {};
        copy(conductances + offset, size, whole_conductances + skip);
        copy(deviations + offset, size, whole_deviations + skip);
        kernel.read_cells(key, group, 1, whole_conductances, whole_deviations, whole_conductances);
        copy(whole_conductances + skip, size, reads + offset);
      });
}

void draw_normals(uint64_t seed, uint32_t stream, uint32_t tensor, uint64_t first, uint64_t count,
                  float* normals) {
  const NoiseKernel& kernel = *current_kernel().noise;
  const DrawKey key{seed, stream, tensor};
  split(
      first, count,
      [&](uint64_t group, uint64_t num_groups, uint64_t offset) {
        kernel.draw_normals(key, group, num_groups, normals + offset);
      },
      [&](uint64_t group, uint64_t skip, uint64_t offset, uint64_t size) {
        float whole[kGroupCells];
        kernel.draw_normals(key, group, 1, whole);
        copy(whole + skip, size, normals + offset);
      });
}

}  // namespace wl
