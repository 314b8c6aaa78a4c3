// A parsed palette blob: every count and length in it has been checked.
#ifndef WL_CORE_PALETTE_BLOB_H_
#define WL_CORE_PALETTE_BLOB_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/codebook.h"
#include "core/palette_model.h"
#include "core/status.h"

namespace wl {

constexpr uint32_t kMaxPaletteLanes = 64;
constexpr int kMinChunkBits = 8;
constexpr int kMaxChunkBits = 32;
constexpr size_t kPaletteHeaderBytes = 4;

// 2^chunk_bits weights, the last one perhaps fewer, decodable without the others.
struct PaletteChunk {
  const uint8_t* states;  // [num_lanes] of 4 bytes
  const uint8_t* words;   // [num_words] of 2 bytes, behind the states
  uint32_t num_words;
};

// What a slot of a context stands for. Where it fits, one number of 32 bits holds it:
//   symbol | (frequency - 1) << symbol_bits | (slot - start) << (symbol_bits + probability_bits)
struct PaletteTables {
  int symbol_bits = 0;
  std::vector<uint32_t> packed;     // [context][slot], or empty
  std::vector<uint16_t> symbols;    // [context][slot], where packed is empty
  std::vector<uint32_t> intervals;  // [context][symbol]: start | frequency << 16, likewise
};

// Views into the blob's bytes, which must outlive it.
struct PaletteView {
  uint64_t num_weights = 0;
  CodebookType codebook_type = CodebookType::kFloat16;
  bool has_regular_codebook = false;
  size_t codebook_bytes = 0;    // in the blob
  std::vector<float> codebook;  // finite
  int probability_bits = 0;
  uint32_t num_lanes = 1;
  int chunk_bits = 0;
  size_t side_bytes = 0;
  PaletteModel model;
  PaletteTables tables;
  std::vector<PaletteChunk> chunks;

  uint64_t chunk_weights() const { return uint64_t{1} << chunk_bits; }
};

// Parses and checks a whole blob (container, checksum, payload). On error `view` is unspecified.
// Errors: kDamaged with the byte offset in the text; kOutOfMemory.
Status parse_palette(const uint8_t* blob, size_t size, PaletteView* view);

// Builds the tables of every context; false where a context's shares give no frequencies.
bool build_tables(const PaletteModel& model, uint32_t num_symbols, int probability_bits,
                  PaletteTables* tables);

}  // namespace wl

#endif  // WL_CORE_PALETTE_BLOB_H_
