// The record of a device in a blob: FORMAT.md, "Device record".
#include <algorithm>
#include <new>
#include <utility>

#include "core/byte_reader.h"
#include "core/device_model.h"

namespace wl {
namespace {

constexpr uint8_t kPcm = 1, kTable = 2;
constexpr uint32_t kMinLevels = 2, kMaxLevels = 65536;
// Keeps every product of a record's values far from the largest float32.
constexpr float kLargest = 1e12F;

Status damaged(const char* what, double value, size_t offset) {
  return make_status(StatusCode::kDamaged, "the device's %s, got %.7g at byte %zu", what, value,
                     offset);
}

// Reads the next number into *value, which must lie within [low, high].
Status read_value(ByteReader* reader, const char* rule, float low, float high, double* value) {
  const size_t offset = reader->offset();
  const float number = reader->read<float>();
  if (reader->failed()) {
    return make_status(StatusCode::kDamaged,
                       "the device record must be whole, got its end at byte %zu",
                       offset + reader->remaining());
  }
  if (!(number >= low && number <= high)) return damaged(rule, double{number}, offset);
  *value = double{number};
  return Status();
}

}  // namespace

Status DeviceModel::parse_pcm(ByteReader* reader, DeviceModel* model) {
  constexpr float kLeast = 1e-12F;
  double read[5];
  const struct {
    const char* rule;
    float low, high;
    double* value;
  } fields[] = {
      {"largest conductance must be from 1e-12 to 1e12 uS", kLeast, kLargest, &model->g_max_},
      {"programming noise must be finite", -kLargest, kLargest, &model->programming_[0]},
      {"programming noise must be finite", -kLargest, kLargest, &model->programming_[1]},
      {"programming noise must be finite", -kLargest, kLargest, &model->programming_[2]},
      {"drift mean must have a finite slope", -kLargest, kLargest, &model->drift_mean_.slope},
      {"drift mean must have a finite intercept", -kLargest, kLargest,
       &model->drift_mean_.intercept},
      {"drift mean must have finite limits", -kLargest, kLargest, &model->drift_mean_.low},
      {"drift mean must have finite limits", -kLargest, kLargest, &model->drift_mean_.high},
      {"drift deviation must have a finite slope", -kLargest, kLargest,
       &model->drift_deviation_.slope},
      {"drift deviation must have a finite intercept", -kLargest, kLargest,
       &model->drift_deviation_.intercept},
      {"drift deviation must be at least 0", 0, kLargest, &model->drift_deviation_.low},
      {"drift deviation must be at least 0", 0, kLargest, &model->drift_deviation_.high},
      {"t0 must be from 1e-12 to 1e12 s", kLeast, kLargest, &model->t0_s_},
      {"read noise must be at least 0 and finite", 0, kLargest, &read[0]},
      {"read noise must have a finite exponent", -kLargest, kLargest, &read[1]},
      {"read noise must have a floor of at least 0", 0, kLargest, &read[2]},
      {"read noise must have a cap of at least 0", 0, kLargest, &read[3]},
      {"read time must be from 1e-12 to 1e12 s", kLeast, kLargest, &model->t_read_s_},
      {"read deviation must be at least 0 uS and finite", 0, kLargest, &model->read_deviation_},
  };
  for (const auto& field : fields) {
    const Status status = read_value(reader, field.rule, field.low, field.high, field.value);
    if (!status.ok()) return status;
  }
  for (const ClippedLog* law : {&model->drift_mean_, &model->drift_deviation_}) {
    if (law->low > law->high) {
      return make_status(
          StatusCode::kDamaged,
          "the device's drift must have a lower limit that is at most the upper one, "
          "got %.7g and %.7g",
          law->low, law->high);
    }
  }
  model->read_noise_ = {static_cast<float>(read[0]), static_cast<float>(read[1]),
                        static_cast<float>(read[2]), static_cast<float>(read[3])};
  model->has_drift_ = model->drift_mean_.low != 0 || model->drift_mean_.high != 0 ||
                      model->drift_deviation_.high != 0;
  return Status();
}

Status DeviceModel::parse_table(ByteReader* reader, DeviceModel* model) {
  const size_t offset = reader->offset();
  const uint32_t num_levels = reader->read<uint32_t>();
  if (reader->failed() || num_levels < kMinLevels || num_levels > kMaxLevels ||
      reader->remaining() / (4 * sizeof(float)) < num_levels) {
    return make_status(StatusCode::kDamaged,
                       "the device's table must have 2 to 65536 levels, and bytes for all of them, "
                       "got %u levels and %zu bytes at byte %zu",
                       num_levels, reader->remaining(), offset);
  }
  const struct {
    const char* rule;
    float low, high;
    std::vector<float>* values;
  } columns[] = {
      {"levels must rise from 0 to 1", 0, 1, &model->measured_.levels},
      {"means must be at least 0 uS and at most 1e12", 0, kLargest, &model->measured_.mean},
      {"deviations must be at least 0 uS and at most 1e12", 0, kLargest,
       &model->measured_.deviation},
      {"read deviations must be at least 0 uS and at most 1e12", 0, kLargest,
       &model->measured_.read_deviation},
  };
  for (const auto& column : columns) {
    column.values->resize(num_levels);
    for (float& value : *column.values) {
      double number = 0;
      const Status status = read_value(reader, column.rule, column.low, column.high, &number);
      if (!status.ok()) return status;
      value = static_cast<float>(number);
    }
  }
  const std::vector<float>& levels = model->measured_.levels;
  for (uint32_t i = 0; i < num_levels; ++i) {
    const bool holds = i == 0 ? levels[i] == 0 : levels[i] > levels[i - 1];
    if (!holds || (i + 1 == num_levels && levels[i] != 1)) {
      return damaged(columns[0].rule, double{levels[i]}, offset + sizeof(uint32_t) + 4 * size_t{i});
    }
  }
  model->g_max_ =
      double{*std::max_element(model->measured_.mean.begin(), model->measured_.mean.end())};
  if (!(model->g_max_ > 0)) {
    return make_status(StatusCode::kDamaged,
                       "the device's largest mean must be above 0 uS, got %.7g", model->g_max_);
  }
  return Status();
}

Status DeviceModel::parse(const uint8_t* data, size_t size, DeviceModel* model,
                          size_t* used_bytes) {
  ByteReader reader(data, size);
  const uint8_t kind = reader.read<uint8_t>();
  try {
    DeviceModel parsed;
    Status status;
    if (kind == kPcm) {
      status = parse_pcm(&reader, &parsed);
    } else if (kind == kTable) {
      status = parse_table(&reader, &parsed);
    } else {
      status = make_status(StatusCode::kDamaged,
                           "the device record must begin with kind 1 or 2, got %u of %zu bytes",
                           unsigned{kind}, size);
    }
    if (!status.ok()) return status;
    *model = std::move(parsed);
  } catch (const std::bad_alloc&) {
    return make_status(StatusCode::kOutOfMemory, "no memory for the device's table");
  }
  *used_bytes = reader.offset();
  return Status();
}

}  // namespace wl
