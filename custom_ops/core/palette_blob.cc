#include "core/palette_blob.h"

#include <algorithm>

#include "core/payload_parser.h"

namespace wl {
namespace {

class Parser : private PayloadParser {
 public:
  Parser(const Container& container, PaletteView* view) : PayloadParser(container), view_(*view) {
    view_ = PaletteView{};
    view_.num_weights = container.num_weights;
  }

  Status parse() {
    Status status = parse_header();
    if (status.ok()) {
      const auto read = view_.has_regular_codebook ? read_regular : read_codebook;
      status = read(&reader_, view_.codebook_type, num_clusters_, kContainerHeaderBytes,
                    &view_.codebook);
      view_.codebook_bytes = reader_.offset() - kPaletteHeaderBytes;
    }
    if (status.ok()) status = parse_model();
    if (status.ok()) status = locate_chunks();
    return status;
  }

 private:
  Status parse_header() {
    const uint32_t scheme = reader_.read<uint16_t>();
    num_clusters_ = reader_.read<uint16_t>() + 1U;
    if (reader_.failed()) return cut_short("the palette's header must have 4 bytes");
    const uint32_t probability_bits = scheme >> 2 & 15;
    const uint32_t lane_bits = scheme >> 6 & 7;
    const uint32_t chunk_bits = scheme >> 9 & 63;
    if (scheme >> 15 != 0) return damaged("bit 15 of the scheme must be 0", 0, scheme);
    if (probability_bits < kMinProbabilityBits || probability_bits > kMaxProbabilityBits) {
      return damaged("the bits of a probability must be from 8 to 14", 0, probability_bits);
    }
    if (1U << lane_bits > kMaxPaletteLanes) {
      return damaged("lanes must be at most 64", 0, 1U << lane_bits);
    }
    if (chunk_bits < kMinChunkBits || chunk_bits > kMaxChunkBits) {
      return damaged("the bits of a chunk's length must be from 8 to 32", 1, chunk_bits);
    }
    if (num_clusters_ > kMaxClusters) {
      return damaged("clusters must be from 1 to 4096", 2, num_clusters_);
    }
    view_.codebook_type = (scheme & 1) != 0 ? CodebookType::kFloat32 : CodebookType::kFloat16;
    view_.has_regular_codebook = (scheme & 2) != 0;
    view_.probability_bits = static_cast<int>(probability_bits);
    view_.num_lanes = 1U << lane_bits;
    view_.chunk_bits = static_cast<int>(chunk_bits);
    return Status{};
  }

  Status parse_model() {
    size_t at = reader_.offset();
    uint32_t size = reader_.read<uint8_t>();
    if (size >= 128) size = (size - 128) << 16 | reader_.read<uint16_t>();
    const uint8_t* side = reader_.skip(size);
    if (reader_.failed()) return cut_short("the model must be complete");
    view_.side_bytes = size;
    RangeDecoder decoder(side, size);
    if (const char* wrong = code_model(&decoder, view_.num_weights, num_clusters_, &view_.model)) {
      return damaged(wrong, at, view_.model.row_length);
    }
    if (!decoder.is_at_end()) return damaged("the model must use all its bytes", at, size);
    if (size > 0 && side[size - 1] == 0) {
      return damaged("the model's last byte must not be 0", at, size);
    }
    if (!build_tables(view_.model, num_clusters_, view_.probability_bits, &view_.tables)) {
      return damaged("each context must have from 1 to 2^bits symbols", at, size);
    }
    return Status{};
  }

  Status locate_chunks() {
    const uint64_t num_chunks = (view_.num_weights + view_.chunk_weights() - 1) >> view_.chunk_bits;
    const uint8_t* counts = reader_.skip(4 * (num_chunks - 1));
    if (reader_.failed()) return cut_short("the chunks' lengths must be complete");
    ByteReader lengths(counts, static_cast<size_t>(4 * (num_chunks - 1)));
    const uint64_t state_bytes = 4 * uint64_t{view_.num_lanes};
    view_.chunks.reserve(static_cast<size_t>(num_chunks));
    for (uint64_t i = 0; i < num_chunks; ++i) {
      PaletteChunk chunk{};
      chunk.states = reader_.skip(state_bytes);
      const bool last = i + 1 == num_chunks;
      if (last && !reader_.failed() && reader_.remaining() % 2 != 0) {
        return cut_short("the last chunk must be of whole words");
      }
      const uint64_t num_words = last ? reader_.remaining() / 2 : lengths.read<uint32_t>();
      // A lane takes at most one word for each of its weights.
      const uint64_t most = std::min(view_.num_weights, view_.chunk_weights());
      if (num_words > most) {
        return damaged("a chunk must have no more words than weights", reader_.offset(), num_words);
      }
      chunk.num_words = static_cast<uint32_t>(num_words);
      chunk.words = reader_.skip(2 * num_words);
      if (reader_.failed()) return cut_short("a chunk must be complete");
      view_.chunks.push_back(chunk);
    }
    return Status{};
  }

  PaletteView& view_;
  uint32_t num_clusters_ = 0;
};

}  // namespace

bool build_tables(const PaletteModel& model, uint32_t num_symbols, int probability_bits,
                  PaletteTables* tables) {
  const uint32_t num_contexts = model.num_contexts();
  const int symbol_bits = value_bits(num_symbols);
  const size_t num_slots = size_t{num_contexts} << probability_bits;
  const bool is_packed = symbol_bits + 2 * probability_bits <= 32;
  tables->symbol_bits = symbol_bits;
  if (is_packed) {
    tables->packed.resize(num_slots);
  } else {
    tables->symbols.resize(num_slots);
    tables->intervals.resize(size_t{num_contexts} * num_symbols);
  }
  std::vector<uint32_t> frequencies(num_symbols);
  size_t slot = 0;
  for (uint32_t context = 0; context < num_contexts; ++context) {
    const size_t row = size_t{context} * num_symbols;
    if (!to_frequencies(model.shares.data() + row, num_symbols, probability_bits,
                        frequencies.data())) {
      return false;
    }
    uint32_t start = 0;
    for (uint32_t symbol = 0; symbol < num_symbols; ++symbol) {
      const uint32_t frequency = frequencies[symbol];
      if (!is_packed) tables->intervals[row + symbol] = start | frequency << 16;
      for (uint32_t i = 0; i < frequency; ++i, ++slot) {
        if (is_packed) {
          tables->packed[slot] =
              symbol | (frequency - 1) << symbol_bits |
              static_cast<uint32_t>(uint64_t{i} << (symbol_bits + probability_bits));
        } else {
          tables->symbols[slot] = static_cast<uint16_t>(symbol);
        }
      }
      start += frequency;
    }
  }
  return true;
}

Status parse_palette(const uint8_t* blob, size_t size, PaletteView* view) {
  return parse_payload<Parser>(blob, size, Codec::kPalette, view);
}

}  // namespace wl
