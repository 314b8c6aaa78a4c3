// A parsed blob of analog cells: every count and length in it has been checked. FORMAT.md, "Payload
// of analog cells".
#ifndef WL_CORE_ANALOG_BLOB_H_
#define WL_CORE_ANALOG_BLOB_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/device_model.h"
#include "core/palette_blob.h"
#include "core/status.h"

namespace wl {

constexpr int kMaxWriteBits = 16;
constexpr uint32_t kMaxAnalogCells = 64;  // of a weight, and of one sign
constexpr uint32_t kMaxExponentSum = 30;  // of a row and a column
constexpr float kMaxCurve = 8;
constexpr float kMaxTimeS = 1e12F;

// What the weights of one label have in common: see codecs/cell_tensor.py.
struct AnalogSymbol {
  float low, high, curve;
  uint8_t cells;
};

// Exponents of lines of the tensor; weight i has number (i / inner) % count.
struct LineExponents {
  uint32_t count = 0;
  uint32_t inner = 1;
  const uint8_t* nibbles = nullptr;  // [ceil(count / 2)], the lower half first

  uint32_t of_line(uint32_t line) const { return nibbles[line / 2] >> (line % 2 * 4) & 15U; }
};

// Views into the blob's bytes, which must outlive it. Nothing in it grows with the weights.
struct AnalogView {
  uint64_t num_weights = 0;
  int write_bits = 0;
  bool is_pair = false;
  bool inverts_response = false;
  bool compensates_drift = false;
  uint32_t tensor = 0;
  uint64_t write_seed = 0;  // unless the operator is given others
  float time_s = 0;
  float reference_level = 0;
  DeviceModel device;
  const uint8_t* device_record = nullptr;
  uint32_t device_bytes = 0;
  float scale = 0;
  std::vector<float> channel_scales;  // empty: none
  uint32_t channel_inner = 0;
  std::vector<AnalogSymbol> symbols;
  bool has_lines = false;
  LineExponents rows, columns;
  uint32_t label_bytes = 0;
  PaletteView labels;  // of no weights where there is one symbol
  uint64_t num_stored = 0;
  const uint8_t* levels = nullptr;  // one or two bytes each; of a pair all + first

  size_t level_bytes() const { return write_bits <= 8 ? 1 : 2; }
  uint64_t num_levels() const { return num_stored * (is_pair ? 2 : 1); }
};

// A level by its place among all of them.
inline uint16_t analog_level(const AnalogView& view, uint64_t index) {
  if (view.level_bytes() == 1) return view.levels[index];
  uint16_t level;
  std::memcpy(&level, view.levels + 2 * index, sizeof(level));
  return level;
}

// Parses and checks a whole blob (container, checksum, payload) but for what the labels say of
// num_stored, which build_layout checks. On error `view` is unspecified.
// Errors: kDamaged with the byte offset in the text; kOutOfMemory.
Status parse_analog(const uint8_t* blob, size_t size, AnalogView* view);

}  // namespace wl

#endif  // WL_CORE_ANALOG_BLOB_H_
