// Fits a palette's model to a tensor: what the encoder decides, by the bits that it costs.
#ifndef WL_CORE_PALETTE_FIT_H_
#define WL_CORE_PALETTE_FIT_H_

#include <cstdint>
#include <vector>

#include "core/palette_encode.h"
#include "core/palette_model.h"

namespace wl {

// A model and what it costs: the bytes of the model itself and the bits of the symbols, as exact as
// frequencies of 2^probability_bits are.
struct PaletteFit {
  PaletteModel model;
  int probability_bits = 0;
  std::vector<uint8_t> side;  // the model's bytes
  uint64_t symbol_bits = 0;

  uint64_t total_bits() const { return symbol_bits + 8 * side.size(); }
};

// How often each symbol stands in each context of `model`: [context][symbol].
std::vector<uint64_t> count_symbols(const PaletteSpec& spec, const PaletteModel& model);

// Fills in the model's shares, and what else a PaletteFit holds, from the counts.
//   thorough: tries every precision; otherwise one.
PaletteFit fit_shares(const PaletteSpec& spec, const PaletteModel& model, bool thorough);

// The best model for the tensor: without classes, or with classes of its rows and columns.
PaletteFit fit_palette(const PaletteSpec& spec);

}  // namespace wl

#endif  // WL_CORE_PALETTE_FIT_H_
