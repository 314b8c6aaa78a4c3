#include "core/analog_state.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <vector>

#include "core/cell_noise.h"

namespace wl {
namespace {

constexpr uint64_t kChunksPerTask = 16;
constexpr uint64_t kReferenceCells = 16384;  // at most, that a reference read takes

// Calls visit(first, count, levels) for the runs of cells that a chunk of weights has: those of
// each plane, of a pair for + and then for -.
template <typename Visit>
void visit_levels(const AnalogView& view, const AnalogLayout& layout, uint64_t chunk,
                  const Visit& visit) {
  ChunkCells cells;
  layout.list_cells(chunk, &cells);
  if (cells.num_stored == 0) return;
  uint16_t levels[kAnalogChunk];
  for (uint64_t sign = 0; sign < (view.is_pair ? 2U : 1U); ++sign) {
    const uint64_t first_level = sign * view.num_stored + layout.first_stored(chunk);
    for (uint32_t plane = 0; plane < layout.num_planes(); ++plane) {
      uint32_t count = 0;
      for (uint32_t j = 0; j < cells.num_stored; ++j) {
        levels[count] = analog_level(view, first_level + j);
        count += cells.uniform_cells > 0 || cells.cells[j] > plane ? 1 : 0;
      }
      if (count == 0 || (cells.uniform_cells > 0 && plane >= cells.uniform_cells)) break;
      visit(sign * layout.num_sign_cells() + layout.first_cell(chunk, plane), uint64_t{count},
            static_cast<const uint16_t*>(levels));
    }
  }
}

// What the reference cells, the first of all, read now over what they read at time 0.
double read_reference(const AnalogView& view, const AnalogLayout& layout, const LevelTable& table,
                      const CellSource& source, const float* conductances, const float* deviations,
                      uint64_t num_cells) {
  const uint64_t count = std::min(num_cells, kReferenceCells);
  std::vector<uint16_t> levels(count);
  for (uint64_t chunk = 0; chunk < layout.num_chunks(); ++chunk) {
    // The first plane may have fewer cells, so others are looked at too.
    visit_levels(view, layout, chunk, [&](uint64_t first, uint64_t size, const uint16_t* some) {
      if (first < count) {
        std::memcpy(levels.data() + first, some,
                    static_cast<size_t>(std::min(size, count - first)) * sizeof(uint16_t));
      }
    });
    if (chunk + 1 < layout.num_chunks() && layout.first_stored(chunk + 1) >= count) break;
  }
  std::vector<float> at_first(count), deviations_at_first(count), reads(count);
  program_cells(view.device, table, source, 0, levels.data(), 0, count, at_first.data(),
                deviations_at_first.data());
  const auto sum = [&](uint32_t stream, const float* g, const float* sigma) {
    read_cells(source.write_seed, stream, source.tensor, g, sigma, 0, count, reads.data());
    double total = 0;
    for (const float read : reads) total += double{read};
    return total;
  };
  const double now = sum(kReferenceStream, conductances, deviations);
  const double before = sum(kReferenceStream0, at_first.data(), deviations_at_first.data());
  return before > 0 ? now / before : 1;
}

}  // namespace

Status AnalogState::program(const AnalogView& view, const AnalogLayout& layout, uint64_t write_seed,
                            float time_s, const TaskRunner& run, AnalogState* state) {
  const uint64_t num_cells = layout.num_sign_cells() * (view.is_pair ? 2 : 1);
  try {
    if (num_cells > SIZE_MAX / sizeof(float)) throw std::bad_alloc();
    state->write_seed_ = write_seed;
    state->time_s_ = time_s;
    if (state->num_cells_ != num_cells || state->deviations_ == nullptr) {
      state->conductances_.reset(new float[static_cast<size_t>(num_cells)]);
      state->deviations_.reset(new float[static_cast<size_t>(num_cells)]);
      state->num_cells_ = num_cells;
    }
    float* conductances = state->conductances_.get();
    float* deviations = state->deviations_.get();
    const LevelTable table = view.device.tabulate(view.write_bits);
    const CellSource source{write_seed, view.tensor};
    const uint64_t num_chunks = num_cells == 0 ? 0 : layout.num_chunks();
    run((num_chunks + kChunksPerTask - 1) / kChunksPerTask, [&](uint64_t task) {
      const uint64_t end = std::min(num_chunks, (task + 1) * kChunksPerTask);
      for (uint64_t chunk = task * kChunksPerTask; chunk < end; ++chunk) {
        visit_levels(view, layout, chunk,
                     [&](uint64_t first, uint64_t count, const uint16_t* levels) {
                       program_cells(view.device, table, source, double{time_s}, levels, first,
                                     count, conductances + first, deviations + first);
                     });
      }
    });
    DriftEstimate drift;
    if (view.compensates_drift && view.device.has_drift() && num_cells > 0) {
      drift = estimate_drift(
          view, read_reference(view, layout, table, source, conductances, deviations, num_cells));
    }
    return build_response(view, drift, &state->response_);
  } catch (const std::bad_alloc&) {
    return make_status(StatusCode::kOutOfMemory, "memory ran out while the cells were programmed");
  }
}

}  // namespace wl
