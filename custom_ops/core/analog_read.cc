#include "core/analog_read.h"

#include <algorithm>
#include <cstring>

#include "core/cell_noise.h"
#include "core/kernels/targets.h"

namespace wl {
namespace {

// The mean of one read of the cells of each stored weight of a chunk, of one sign.
void read_means(const AnalogView& view, const AnalogLayout& layout, const AnalogState& state,
                uint64_t read_seed, uint64_t sign, uint64_t chunk, const ChunkCells& cells,
                float* means) {
  alignas(64) float reads[kAnalogChunk];
  for (uint32_t plane = 0; plane < layout.num_planes(); ++plane) {
    uint32_t count = cells.num_stored;
    if (cells.uniform_cells > 0) {
      if (plane >= cells.uniform_cells) break;
    } else if (plane > 0) {
      count = 0;
      for (uint32_t j = 0; j < cells.num_stored; ++j) count += cells.cells[j] > plane ? 1 : 0;
      if (count == 0) break;
    }
    const uint64_t first = sign * layout.num_sign_cells() + layout.first_cell(chunk, plane);
    read_cells(read_seed, kReadStream, view.tensor, state.conductances() + first,
               state.deviations() + first, first, count, plane == 0 ? means : reads);
    if (plane == 0) continue;
    if (cells.uniform_cells > 0) {
      for (uint32_t j = 0; j < count; ++j) means[j] += reads[j];
    } else {
      const float* next = reads;
      for (uint32_t j = 0; j < cells.num_stored; ++j) {
        if (cells.cells[j] > plane) means[j] += *next++;
      }
    }
  }
  if (cells.uniform_cells == 1) return;
  for (uint32_t j = 0; j < cells.num_stored; ++j) {
    const uint32_t num = cells.uniform_cells > 0 ? cells.uniform_cells : cells.cells[j];
    means[j] /= static_cast<float>(num);
  }
}

// The position that each conductance stands for, in its place.
void to_positions(const AnalogLayout& layout, const ResponseTables& tables, const ChunkCells& cells,
                  float* values) {
  if (tables.num_curves() == 1) {
    const ResponseCurve curve{tables.inverse_step, tables.intercepts.data(), tables.slopes.data()};
    current_kernel().response->to_positions(curve, cells.num_stored, values);
    return;
  }
  const uint8_t* labels = layout.labels() + cells.first_weight;
  for (uint32_t j = 0; j < cells.num_stored; ++j) {
    const float place = values[j] * tables.inverse_step;
    constexpr float kLast = kResponseIntervals - 1;
    const uint8_t label = labels[cells.is_dense ? j : cells.index[j]];
    const uint32_t k = tables.of_symbol[label] * kResponseIntervals +
                       static_cast<uint32_t>(place < kLast ? place : kLast);  // also of no number
    values[j] = tables.intercepts[k] + tables.slopes[k] * values[j];
  }
}

// The factor of each weight of a chunk, where there are channels.
void fill_factors(const AnalogView& view, const ChunkCells& cells, float* factors) {
  const uint64_t inner = view.channel_inner;
  const uint64_t count = view.channel_scales.size();
  uint64_t channel = cells.first_weight / inner % count;
  uint64_t left = inner - cells.first_weight % inner;
  for (uint32_t i = 0; i < cells.num_weights;) {
    const float factor = view.scale * view.channel_scales[channel];
    const uint32_t end = i + static_cast<uint32_t>(std::min<uint64_t>(left, cells.num_weights - i));
    while (i < end) factors[i++] = factor;
    left = inner;
    if (++channel == count) channel = 0;
  }
}

// The weights of a chunk, float32, from the positions of those that are stored.
void to_weights(const AnalogView& view, const AnalogLayout& layout, const ChunkCells& cells,
                const float* positions, float* weights) {
  float lows[256], spans[256];
  for (size_t s = 0; s < view.symbols.size(); ++s) {
    lows[s] = view.symbols[s].low;
    spans[s] = view.symbols[s].high - lows[s];
  }
  alignas(64) float factors[kAnalogChunk];
  const bool has_channels = !view.channel_scales.empty();
  if (has_channels) fill_factors(view, cells, factors);
  if (!cells.is_dense) {  // a position of 0 gives `low`
    std::fill(weights, weights + cells.num_weights, 0.0F);
    for (uint32_t j = 0; j < cells.num_stored; ++j) weights[cells.index[j]] = positions[j];
    positions = weights;
  }
  const uint8_t* labels = layout.labels();
  const WeightScales scales{lows, spans, labels == nullptr ? labels : labels + cells.first_weight,
                            has_channels ? factors : nullptr, view.scale};
  current_kernel().response->to_weights(scales, positions, cells.num_weights, weights);
}

void store_weights(const float* weights, uint32_t count, ElementType type, void* output) {
  switch (type) {
    case ElementType::kFloat32:
      std::memcpy(output, weights, count * sizeof(float));
      return;
    case ElementType::kFloat64:
      for (uint32_t i = 0; i < count; ++i) static_cast<double*>(output)[i] = double{weights[i]};
      return;
    case ElementType::kFloat16:
      for (uint32_t i = 0; i < count; ++i) {
        static_cast<uint16_t*>(output)[i] = half_from_float(weights[i]);
      }
      return;
    case ElementType::kBfloat16:
      for (uint32_t i = 0; i < count; ++i) {
        static_cast<uint16_t*>(output)[i] = bfloat16_from_float(weights[i]);
      }
      return;
  }
}

// position(chunk, cells, sign, positions) for each chunk and sign of a task.
template <typename Position>
void run_task(const AnalogView& view, const AnalogLayout& layout, ElementType type, uint64_t task,
              void* output, const Position& position) {
  alignas(64) float positions[kAnalogChunk];
  alignas(64) float weights[kAnalogChunk];
  ChunkCells cells;
  const size_t element_bytes = element_size(static_cast<int32_t>(type));
  const uint64_t end = std::min(layout.num_chunks(), (task + 1) * kAnalogTaskChunks);
  for (uint64_t chunk = task * kAnalogTaskChunks; chunk < end; ++chunk) {
    layout.list_cells(chunk, &cells);
    if (cells.num_stored > 0) {
      position(chunk, cells, uint64_t{0}, static_cast<float*>(positions));
      if (view.is_pair) {
        position(chunk, cells, uint64_t{1}, static_cast<float*>(weights));
        for (uint32_t j = 0; j < cells.num_stored; ++j) positions[j] -= weights[j];
      }
    }
    uint8_t* target = static_cast<uint8_t*>(output) + cells.first_weight * element_bytes;
    if (type == ElementType::kFloat32) {
      to_weights(view, layout, cells, positions, reinterpret_cast<float*>(target));
    } else {
      to_weights(view, layout, cells, positions, weights);
      store_weights(weights, cells.num_weights, type, target);
    }
  }
}

}  // namespace

void read_analog_task(const AnalogView& view, const AnalogLayout& layout, const AnalogState& state,
                      uint64_t read_seed, ElementType type, uint64_t task, void* output) {
  run_task(view, layout, type, task, output,
           [&](uint64_t chunk, const ChunkCells& cells, uint64_t sign, float* positions) {
             read_means(view, layout, state, read_seed, sign, chunk, cells, positions);
             to_positions(layout, state.response(), cells, positions);
           });
}

void decode_analog_task(const AnalogView& view, const AnalogLayout& layout, ElementType type,
                        uint64_t task, void* output) {
  const double highest = (1 << view.write_bits) - 1;
  run_task(view, layout, type, task, output,
           [&](uint64_t chunk, const ChunkCells& cells, uint64_t sign, float* positions) {
             const uint64_t first = sign * view.num_stored + layout.first_stored(chunk);
             for (uint32_t j = 0; j < cells.num_stored; ++j) {
               const uint32_t i = cells.is_dense ? j : cells.index[j];
               const uint8_t* label = layout.labels();
               const AnalogSymbol& symbol =
                   view.symbols[label == nullptr ? 0 : label[cells.first_weight + i]];
               const double x = analog_level(view, first + j) / highest;
               positions[j] = static_cast<float>(invert_curve(double{symbol.curve}, x));
             }
           });
}

}  // namespace wl
