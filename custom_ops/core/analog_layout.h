// Where the cells of each weight are: planes, and the part of them that a chunk of weights has.
#ifndef WL_CORE_ANALOG_LAYOUT_H_
#define WL_CORE_ANALOG_LAYOUT_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "core/analog_blob.h"
#include "core/status.h"

namespace wl {

// Runs task(0) ... task(num_tasks - 1), on any threads and in any order, and waits for all. Tasks
// do not throw.
using TaskRunner =
    std::function<void(uint64_t num_tasks, const std::function<void(uint64_t)>& task)>;

// Weights that are programmed or read at a time, so that all that they need stays in the caches.
constexpr uint32_t kAnalogChunk = 2048;

// The weights of a chunk that have cells, in order.
struct ChunkCells {
  uint64_t first_weight;
  uint32_t num_weights;
  uint32_t num_stored;
  bool is_dense;           // all weights are stored: `index` counts up and is not filled
  uint32_t uniform_cells;  // of each, or 0 where they differ; then `cells` is filled
  uint16_t index[kAnalogChunk];
  uint8_t cells[kAnalogChunk];
};

// Plane p has the cell number p of each weight that has more than p cells. Cells are counted
// through the planes; of a pair all planes of + come first. Made once, then read by any threads.
class AnalogLayout {
 public:
  // Decodes the labels and counts cells. Takes memory in proportion to the weights, so the caller
  // first sees to it that their number is what it should be. Keeps no reference to `view`.
  // Errors: kDamaged where the labels do not agree with num_stored; kOutOfMemory.
  static Status build(const AnalogView& view, const TaskRunner& run, AnalogLayout* layout);

  uint64_t num_weights() const { return num_weights_; }
  uint64_t num_chunks() const { return (num_weights_ + kAnalogChunk - 1) / kAnalogChunk; }
  uint32_t num_planes() const { return num_planes_; }
  // Cells of one sign.
  uint64_t num_sign_cells() const { return num_sign_cells_; }

  // [num_weights], or null where there is one symbol.
  const uint8_t* labels() const { return labels_.empty() ? nullptr : labels_.data(); }

  // Where a chunk's cells of a plane begin, among those of one sign.
  uint64_t first_cell(uint64_t chunk, uint32_t plane) const {
    if (uniform_cells_ > 0) return plane * num_weights_ + chunk * kAnalogChunk;
    return first_cells_[chunk * num_planes_ + plane];
  }

  // Of weights before the chunk, those that are stored.
  uint64_t first_stored(uint64_t chunk) const {
    return num_planes_ == 0 ? 0 : first_cell(chunk, 0);
  }

  void list_cells(uint64_t chunk, ChunkCells* cells) const;

 private:
  Status count_cells(const AnalogView& view, const TaskRunner& run);
  void fill_line_cells(const AnalogView& view, uint64_t chunk);
  const uint8_t* cells_of(uint64_t first, uint32_t count, uint8_t* buffer) const;

  uint64_t num_weights_ = 0;
  uint64_t num_sign_cells_ = 0;
  uint32_t num_planes_ = 0;     // the most cells that a weight may have
  uint32_t uniform_cells_ = 0;  // of every weight, or 0 where they may differ or are 0
  uint8_t symbol_cells_[256] = {};
  std::vector<uint8_t> labels_;        // [num_weights], empty where there is one symbol
  std::vector<uint8_t> line_cells_;    // [num_weights], empty where no lines change cells
  std::vector<uint64_t> first_cells_;  // [num_chunks][num_planes], empty where cells are uniform
};

// Cells of a weight whose symbol has `cells`, and whose row and column have exponents that add up
// to `exponent`, 0 to 30.
uint32_t cells_with_exponent(uint32_t cells, uint32_t exponent);

}  // namespace wl

#endif  // WL_CORE_ANALOG_LAYOUT_H_
