#include "core/analog_blob.h"

#include <cmath>

#include "core/element.h"
#include "core/payload_parser.h"

namespace wl {
namespace {

constexpr uint32_t kPairFlag = 1;
constexpr uint32_t kInverseFlag = 2;
constexpr uint32_t kCompensationFlag = 4;
constexpr size_t kSymbolBytes = 7;

class Parser : private PayloadParser {
 public:
  Parser(const Container& container, AnalogView* view) : PayloadParser(container), view_(*view) {
    view_ = AnalogView{};
    view_.num_weights = container.num_weights;
  }

  Status parse() {
    Status status = parse_header();
    if (status.ok()) status = parse_device();
    if (status.ok()) status = parse_scales();
    if (status.ok()) status = parse_symbols();
    if (status.ok()) status = parse_lines();
    if (status.ok()) status = parse_labels();
    if (status.ok()) status = parse_levels();
    return status;
  }

 private:
  float read_half() { return float_from_half(reader_.read<uint16_t>()); }

  Status parse_header() {
    const uint32_t write_bits = reader_.read<uint8_t>();
    num_symbols_ = reader_.read<uint8_t>();
    const uint32_t flags = reader_.read<uint8_t>();
    const uint32_t reserved = reader_.read<uint8_t>();
    view_.tensor = reader_.read<uint32_t>();
    view_.write_seed = reader_.read<uint64_t>();
    view_.time_s = reader_.read<float>();
    view_.reference_level = reader_.read<float>();
    if (reader_.failed()) return cut_short("the header of the cells must have 24 bytes");
    if (write_bits < 1 || write_bits > kMaxWriteBits) {
      return damaged("the bits of a level must be from 1 to 16", 0, write_bits);
    }
    if (num_symbols_ == 0) return damaged("symbols must be from 1 to 255", 1, 0);
    if (flags > (kPairFlag | kInverseFlag | kCompensationFlag)) {
      return damaged("flags must be from 0 to 7", 2, flags);
    }
    if (reserved != 0) return damaged("the reserved byte must be 0", 3, reserved);
    if (!(view_.time_s >= 0 && view_.time_s <= kMaxTimeS)) {
      return damaged("the time must be from 0 to 1e12 s", 16, double{view_.time_s});
    }
    if (!(view_.reference_level >= 0 && view_.reference_level <= 1)) {
      return damaged("the reference level must be from 0 to 1", 20, double{view_.reference_level});
    }
    view_.write_bits = static_cast<int>(write_bits);
    view_.is_pair = (flags & kPairFlag) != 0;
    view_.inverts_response = (flags & kInverseFlag) != 0;
    view_.compensates_drift = (flags & kCompensationFlag) != 0;
    return Status{};
  }

  Status parse_device() {
    view_.device_bytes = reader_.read<uint32_t>();
    const size_t at = reader_.offset();
    view_.device_record = reader_.skip(view_.device_bytes);
    if (reader_.failed()) return cut_short("the device record must be complete");
    size_t used_bytes = 0;
    const Status status =
        DeviceModel::parse(view_.device_record, view_.device_bytes, &view_.device, &used_bytes);
    if (!status.ok()) {
      return make_status(status.code, "the device record at byte %zu: %s",
                         kContainerHeaderBytes + at, status.message);
    }
    if (used_bytes != view_.device_bytes) {
      return damaged("the device record must have no bytes left over", at + used_bytes,
                     view_.device_bytes - used_bytes);
    }
    return Status{};
  }

  Status parse_scales() {
    const size_t at = reader_.offset();
    view_.scale = reader_.read<float>();
    const uint32_t num_channels = reader_.read<uint32_t>();
    view_.channel_inner = reader_.read<uint32_t>();
    if (reader_.failed()) return cut_short("the scale must be complete");
    if (!(view_.scale > 0 && std::isfinite(view_.scale))) {
      return damaged("the scale must be above 0 and finite", at, double{view_.scale});
    }
    if ((num_channels > 0) != (view_.channel_inner > 0)) {
      return damaged("channels must be as far apart as they say, at least 1, and 0 without them",
                     at + 8, view_.channel_inner);
    }
    if (uint64_t{2} * num_channels > reader_.remaining()) {
      return cut_short("the channel scales must be complete");
    }
    view_.channel_scales.resize(num_channels);
    for (float& scale : view_.channel_scales) {
      scale = read_half();
      if (!(scale > 0 && std::isfinite(scale))) {
        return damaged("channel scales must be above 0 and finite", reader_.offset() - 2,
                       double{scale});
      }
    }
    return Status{};
  }

  Status parse_symbols() {
    if (num_symbols_ * kSymbolBytes > reader_.remaining()) {
      return cut_short("the symbols must be complete");
    }
    view_.symbols.resize(num_symbols_);
    for (AnalogSymbol& symbol : view_.symbols) {
      const size_t at = reader_.offset();
      symbol.low = read_half() + 0.0F;  // +0 of -0
      symbol.high = read_half();
      symbol.curve = read_half();
      symbol.cells = reader_.read<uint8_t>();
      if (!std::isfinite(symbol.low) || !std::isfinite(symbol.high)) {
        return damaged("a symbol's interval must be finite", at, double{symbol.low});
      }
      if (!(std::fabs(symbol.curve) <= kMaxCurve)) {
        return damaged("a symbol's curve must be from -8 to 8", at + 4, double{symbol.curve});
      }
      if (symbol.cells > kMaxAnalogCells) {
        return damaged("a symbol's cells must be at most 64", at + 6, symbol.cells);
      }
    }
    return Status{};
  }

  Status parse_lines() {
    const uint32_t has_lines = reader_.read<uint8_t>();
    if (reader_.failed()) return cut_short("the exponents of lines must be complete");
    if (has_lines > 1) {
      return damaged("lines must be 0 or 1", reader_.offset() - 1, has_lines);
    }
    view_.has_lines = has_lines == 1;
    if (!view_.has_lines) return Status{};
    for (LineExponents* lines : {&view_.rows, &view_.columns}) {
      const size_t at = reader_.offset();
      lines->count = reader_.read<uint32_t>();
      lines->inner = reader_.read<uint32_t>();
      lines->nibbles = reader_.skip((uint64_t{lines->count} + 1) / 2);
      if (reader_.failed()) return cut_short("the exponents of lines must be complete");
      if (lines->count == 0) return damaged("lines must be at least 1", at, 0);
      if (lines->inner == 0) return damaged("lines must be at least 1 weight apart", at + 4, 0);
      const uint32_t last = lines->nibbles[(lines->count - 1) / 2];
      if (lines->count % 2 == 1 && last > 15) {
        return damaged("the half byte behind the last exponent must be 0", reader_.offset() - 1,
                       last);
      }
    }
    return Status{};
  }

  Status parse_labels() {
    view_.label_bytes = reader_.read<uint32_t>();
    const size_t at = reader_.offset();
    const uint8_t* labels = reader_.skip(view_.label_bytes);
    if (reader_.failed()) return cut_short("the labels must be complete");
    if ((num_symbols_ > 1) != (view_.label_bytes > 0)) {
      return damaged("labels must be there with more than one symbol alone", at - 4,
                     view_.label_bytes);
    }
    if (view_.label_bytes == 0) return Status{};
    const Status status = parse_palette(labels, view_.label_bytes, &view_.labels);
    if (!status.ok()) {
      return make_status(status.code, "the labels at byte %zu: %s", kContainerHeaderBytes + at,
                         status.message);
    }
    if (view_.labels.num_weights != view_.num_weights) {
      return damaged("there must be as many labels as weights", at, view_.labels.num_weights);
    }
    const std::vector<float>& codebook = view_.labels.codebook;
    bool counts = codebook.size() == num_symbols_;
    for (size_t j = 0; counts && j < codebook.size(); ++j) {
      counts = codebook[j] == static_cast<float>(j);
    }
    if (!counts) {
      return damaged("the labels' codebook must be 0, 1, 2, ... for each symbol", at,
                     codebook.size());
    }
    return Status{};
  }

  Status parse_levels() {
    const size_t at = reader_.offset();
    view_.num_stored = reader_.read<uint64_t>();
    if (reader_.failed()) return cut_short("the number of stored weights must have 8 bytes");
    if (view_.num_stored > view_.num_weights) {
      return damaged("stored weights must be no more than weights", at, view_.num_stored);
    }
    const bool is_stored = view_.symbols[0].cells > 0;
    if (num_symbols_ == 1 && view_.num_stored != (is_stored ? view_.num_weights : 0)) {
      return damaged("with one symbol all weights must be stored, or none where it has no cells",
                     at, view_.num_stored);
    }
    const uint64_t size = view_.num_levels() * view_.level_bytes();  // below 2^35
    if (size != reader_.remaining()) {
      return cut_short("the levels must be the rest of the payload");
    }
    const size_t first = reader_.offset();
    view_.levels = reader_.skip(size);
    const uint32_t limit = 1U << view_.write_bits;
    if (limit >> (8 * view_.level_bytes()) == 1) return Status{};  // whatever the bytes are
    for (uint64_t i = 0; i < view_.num_levels(); ++i) {
      const uint16_t level = analog_level(view_, i);
      if (level >= limit) {
        return damaged("levels must be below 2^bits", first + i * view_.level_bytes(), level);
      }
    }
    return Status{};
  }

  AnalogView& view_;
  uint32_t num_symbols_ = 0;
};

}  // namespace

Status parse_analog(const uint8_t* blob, size_t size, AnalogView* view) {
  return parse_payload<Parser>(blob, size, Codec::kAnalog, view);
}

}  // namespace wl
