#include "core/palette_decode.h"

#include <algorithm>
#include <cstring>

#include "core/kernels/targets.h"
#include "core/palette_contexts.h"

namespace wl {
namespace {

static_assert(kMaxPaletteLanes == kMaxRansLanes, "the kernels' lanes are the format's");

static_assert(kBlockWeights % kMaxRansLanes == 0, "a block begins with lane 0");

constexpr size_t kMaxElementBytes = 8;

template <typename Element>
void look_up(const uint16_t* symbols, const void* elements, uint32_t count, void* output) {
  const Element* centroids = static_cast<const Element*>(elements);
  Element* weights = static_cast<Element*>(output);
  for (uint32_t i = 0; i < count; ++i) weights[i] = centroids[symbols[i]];
}

RansStream open(const PaletteView& view, const PaletteChunk& chunk) {
  RansStream stream{};
  const PaletteTables& tables = view.tables;
  stream.packed = tables.packed.empty() ? nullptr : tables.packed.data();
  stream.symbols = tables.symbols.data();
  stream.intervals = tables.intervals.data();
  stream.num_symbols = static_cast<uint32_t>(view.codebook.size());
  stream.probability_bits = view.probability_bits;
  stream.symbol_bits = tables.symbol_bits;
  stream.num_lanes = view.num_lanes;
  stream.words = chunk.words;
  stream.words_end = chunk.words + 2 * size_t{chunk.num_words};
  std::memcpy(stream.states, chunk.states, sizeof(uint32_t) * view.num_lanes);
  return stream;
}

}  // namespace

void decode_chunks(const PaletteView& view, const void* elements, size_t element_bytes,
                   uint64_t first, uint64_t last, void* output) {
  const Kernel& kernel = current_kernel();
  const bool streams = view.num_weights * element_bytes >= kStreamedBytes;
  alignas(64) uint16_t symbols[kBlockWeights];
  alignas(64) uint8_t buffer[kBlockWeights * kMaxElementBytes];
  uint8_t* out = static_cast<uint8_t*>(output);
  for (uint64_t chunk = first; chunk < last; ++chunk) {
    const uint64_t begin = chunk << view.chunk_bits;
    const uint64_t end = std::min(view.num_weights, begin + view.chunk_weights());
    RansStream stream = open(view, view.chunks[chunk]);
    PaletteContexts contexts(view.model, begin);
    for (uint64_t at = begin; at < end; at += kBlockWeights) {
      const uint32_t count = static_cast<uint32_t>(std::min<uint64_t>(kBlockWeights, end - at));
      const uint32_t num_bytes = count * static_cast<uint32_t>(element_bytes);
      kernel.decode_rans(contexts.read(count), count, &stream, symbols);
      uint8_t* target = streams ? buffer : out;
      switch (element_bytes) {
        case 1:
          look_up<uint8_t>(symbols, elements, count, target);
          break;
        case 2:
          look_up<uint16_t>(symbols, elements, count, target);
          break;
        case 4:
          look_up<uint32_t>(symbols, elements, count, target);
          break;
        default:
          look_up<uint64_t>(symbols, elements, count, target);
          break;
      }
      if (streams) kernel.stream(buffer, num_bytes, out);
      out += num_bytes;
    }
  }
}

}  // namespace wl
