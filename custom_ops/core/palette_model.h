// The static model of a palette: which context each weight has, and the shares of the symbols in
// each context. One description serves the encoder and the decoder of its bytes.
#ifndef WL_CORE_PALETTE_MODEL_H_
#define WL_CORE_PALETTE_MODEL_H_

#include <cstdint>
#include <vector>

#include "core/range_coder.h"

namespace wl {

constexpr uint32_t kMaxAxisClasses = 8;
constexpr uint32_t kMaxContexts = kMaxAxisClasses * kMaxAxisClasses;
// Rows or columns that may have classes: what a parser allocates stays within a MiB.
constexpr uint32_t kMaxClassedLines = 1 << 20;
constexpr int kMaxShareBits = 20;
constexpr int kMinProbabilityBits = 8;
constexpr int kMaxProbabilityBits = 14;

struct PaletteModel {
  // The tensor as a matrix of rows of `row_length`, the last one perhaps shorter; 0 where no axis
  // has classes.
  uint32_t row_length = 0;
  std::vector<uint8_t> row_classes;     // [rows], or empty: all 0
  std::vector<uint8_t> column_classes;  // [row_length], or empty: all 0
  uint32_t num_row_classes = 1;
  uint32_t num_column_classes = 1;
  int precision = 3;  // bits of a share below its highest one, 0 .. 7
  // [context][symbol], context = row class * num_column_classes + column class. 0: the symbol does
  // not occur; else below 2^kMaxShareBits.
  std::vector<uint32_t> shares;

  uint32_t num_contexts() const { return num_row_classes * num_column_classes; }
};

// Bits of a number up to its highest one.
int bit_length(uint32_t value);

// A share with `precision` bits below its highest one, rounded down.
uint32_t round_share(uint32_t share, int precision);

// Precision of the share that a context does not take from the one before.
int mode_precision(int precision);

// The symbol with the largest share of the first context, the first of several.
uint32_t mode_symbol(const std::vector<uint32_t>& shares, uint32_t num_symbols);

// Writes the model, or reads it into `model`; what is wrong, or null.
const char* code_model(RangeEncoder* coder, uint64_t num_weights, uint32_t num_symbols,
                       PaletteModel* model);
const char* code_model(RangeDecoder* coder, uint64_t num_weights, uint32_t num_symbols,
                       PaletteModel* model);

// The shares of one context [num_symbols] as frequencies that add up to 2^probability_bits: 1 for
// each symbol that occurs and the rest in proportion to share - 1, rounded down; what is left goes
// to the largest. False where there are no symbols or too many.
bool to_frequencies(const uint32_t* shares, uint32_t num_symbols, int probability_bits,
                    uint32_t* frequencies);

}  // namespace wl

#endif  // WL_CORE_PALETTE_MODEL_H_
