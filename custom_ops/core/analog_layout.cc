#include "core/analog_layout.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

#include "core/palette_decode.h"

namespace wl {
namespace {

constexpr uint64_t kChunksPerTask = 64;

uint32_t largest(const LineExponents& lines) {
  uint32_t most = 0;
  for (uint32_t line = 0; line < lines.count; ++line) most = std::max(most, lines.of_line(line));
  return most;
}

// The exponents of weights in turn.
class LineCursor {
 public:
  LineCursor(const LineExponents& lines, uint64_t first)
      : lines_(lines),
        line_(static_cast<uint32_t>(first / lines.inner % lines.count)),
        left_(lines.inner - static_cast<uint32_t>(first % lines.inner)) {}

  uint32_t next() {
    const uint32_t exponent = lines_.of_line(line_);
    if (--left_ == 0) {
      left_ = lines_.inner;
      if (++line_ == lines_.count) line_ = 0;
    }
    return exponent;
  }

 private:
  const LineExponents& lines_;
  uint32_t line_;
  uint32_t left_;
};

void decode_labels(const PaletteView& palette, const TaskRunner& run, uint8_t* labels) {
  uint8_t codes[256];
  for (uint32_t code = 0; code < 256; ++code) codes[code] = static_cast<uint8_t>(code);
  run(palette.chunks.size(), [&](uint64_t chunk) {
    decode_chunks(palette, codes, sizeof(uint8_t), chunk, chunk + 1,
                  labels + (chunk << palette.chunk_bits));
  });
}

}  // namespace

uint32_t cells_with_exponent(uint32_t cells, uint32_t exponent) {
  if (cells == 0) return 0;
  constexpr double kNeutral = 16;
  const double share = std::exp2((exponent - kNeutral) / 2);
  const double rounded = std::floor(cells * share + 0.5);
  return static_cast<uint32_t>(std::min(std::max(rounded, 1.0), double{kMaxAnalogCells}));
}

Status AnalogLayout::build(const AnalogView& view, const TaskRunner& run, AnalogLayout* layout) {
  *layout = AnalogLayout{};
  layout->num_weights_ = view.num_weights;
  try {
    return layout->count_cells(view, run);
  } catch (const std::bad_alloc&) {
    return make_status(StatusCode::kOutOfMemory, "memory ran out while the cells were counted");
  }
}

Status AnalogLayout::count_cells(const AnalogView& view, const TaskRunner& run) {
  uint32_t most = 0;
  uint32_t least = kMaxAnalogCells;
  for (size_t symbol = 0; symbol < view.symbols.size(); ++symbol) {
    symbol_cells_[symbol] = view.symbols[symbol].cells;
    most = std::max<uint32_t>(most, symbol_cells_[symbol]);
    least = std::min<uint32_t>(least, symbol_cells_[symbol]);
  }
  if (view.has_lines) most = cells_with_exponent(most, largest(view.rows) + largest(view.columns));
  num_planes_ = most;
  if (view.symbols.size() > 1) {
    labels_.resize(view.num_weights);
    decode_labels(view.labels, run, labels_.data());
  }
  if (!view.has_lines && least == most) uniform_cells_ = most;
  uint64_t num_stored = 0;
  if (uniform_cells_ > 0) {
    num_sign_cells_ = most * num_weights_;
    num_stored = num_weights_;
  } else if (most > 0) {
    if (view.has_lines) line_cells_.resize(num_weights_);
    first_cells_.resize(num_chunks() * most);
    run((num_chunks() + kChunksPerTask - 1) / kChunksPerTask, [&](uint64_t task) {
      const uint64_t end = std::min(num_chunks(), (task + 1) * kChunksPerTask);
      for (uint64_t chunk = task * kChunksPerTask; chunk < end; ++chunk) {
        if (view.has_lines) fill_line_cells(view, chunk);
        // How many weights have more cells than each plane's number.
        uint8_t buffer[kAnalogChunk];
        const uint64_t first = chunk * kAnalogChunk;
        const uint32_t count =
            static_cast<uint32_t>(std::min<uint64_t>(kAnalogChunk, num_weights_ - first));
        const uint8_t* cells = cells_of(first, count, buffer);
        uint64_t counts[kMaxAnalogCells + 1] = {};
        for (uint32_t i = 0; i < count; ++i) ++counts[cells[i]];
        uint64_t more = 0;
        for (uint32_t plane = num_planes_; plane-- > 0;) {
          more += counts[plane + 1];
          first_cells_[chunk * num_planes_ + plane] = more;
        }
      }
    });
    for (uint32_t plane = 0; plane < num_planes_; ++plane) {
      for (uint64_t chunk = 0; chunk < num_chunks(); ++chunk) {
        uint64_t& first = first_cells_[chunk * num_planes_ + plane];
        const uint64_t count = first;
        first = num_sign_cells_;
        num_sign_cells_ += count;
      }
      if (plane == 0) num_stored = num_sign_cells_;
    }
  }
  if (num_stored != view.num_stored) {
    return make_status(StatusCode::kDamaged,
                       "there must be levels for the %llu weights that have cells, got %llu",
                       static_cast<unsigned long long>(num_stored),
                       static_cast<unsigned long long>(view.num_stored));
  }
  return Status{};
}

void AnalogLayout::fill_line_cells(const AnalogView& view, uint64_t chunk) {
  const uint64_t first = chunk * kAnalogChunk;
  const uint64_t end = std::min(num_weights_, first + kAnalogChunk);
  uint8_t by_exponent[kMaxExponentSum + 1];
  uint32_t of_symbol = kMaxAnalogCells + 1;  // which cells `by_exponent` is for
  LineCursor rows(view.rows, first);
  LineCursor columns(view.columns, first);
  for (uint64_t i = first; i < end; ++i) {
    const uint32_t cells = symbol_cells_[labels_.empty() ? 0 : labels_[i]];
    const uint32_t exponent = rows.next() + columns.next();
    if (cells == 0) {
      line_cells_[i] = 0;
      continue;
    }
    if (cells != of_symbol) {
      of_symbol = cells;
      for (uint32_t e = 0; e <= kMaxExponentSum; ++e) {
        by_exponent[e] = static_cast<uint8_t>(cells_with_exponent(cells, e));
      }
    }
    line_cells_[i] = by_exponent[exponent];
  }
}

// The cells of each of some weights, in `buffer` where they are not kept.
const uint8_t* AnalogLayout::cells_of(uint64_t first, uint32_t count, uint8_t* buffer) const {
  if (!line_cells_.empty()) return line_cells_.data() + first;
  const uint8_t* labels = labels_.data() + first;  // uniform cells are not asked for
  for (uint32_t i = 0; i < count; ++i) buffer[i] = symbol_cells_[labels[i]];
  return buffer;
}

void AnalogLayout::list_cells(uint64_t chunk, ChunkCells* cells) const {
  cells->first_weight = chunk * kAnalogChunk;
  cells->num_weights =
      static_cast<uint32_t>(std::min<uint64_t>(kAnalogChunk, num_weights_ - cells->first_weight));
  cells->num_stored = num_planes_ == 0 ? 0 : cells->num_weights;
  cells->uniform_cells = uniform_cells_;
  cells->is_dense = num_planes_ > 0;
  if (uniform_cells_ > 0 || num_planes_ == 0) return;
  uint8_t buffer[kAnalogChunk];
  const uint8_t* all = cells_of(cells->first_weight, cells->num_weights, buffer);
  uint32_t stored = 0;
  uint32_t least = kMaxAnalogCells;
  uint32_t most = 0;
  for (uint32_t i = 0; i < cells->num_weights; ++i) {
    cells->index[stored] = static_cast<uint16_t>(i);
    cells->cells[stored] = all[i];
    stored += all[i] > 0 ? 1 : 0;
  }
  for (uint32_t j = 0; j < stored; ++j) {
    least = std::min<uint32_t>(least, cells->cells[j]);
    most = std::max<uint32_t>(most, cells->cells[j]);
  }
  cells->num_stored = stored;
  cells->is_dense = stored == cells->num_weights;
  cells->uniform_cells = least == most ? most : 0;
}

}  // namespace wl
