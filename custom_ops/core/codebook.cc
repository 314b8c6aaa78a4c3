#include "core/codebook.h"

#include <cmath>
#include <cstring>

#include "core/element.h"

namespace wl {
namespace {

float to_stored(float value, CodebookType type) {
  return type == CodebookType::kFloat16 ? float_from_half(half_from_float(value)) : value;
}

bool is_same(float a, float b) { return std::memcmp(&a, &b, sizeof(a)) == 0; }

}  // namespace

int value_bits(uint32_t num_clusters) {
  int bits = 0;
  while ((uint64_t{1} << bits) < num_clusters) ++bits;
  return bits;
}

Status read_codebook(ByteReader* reader, CodebookType type, uint32_t num_clusters, size_t base,
                     std::vector<float>* codebook) {
  const bool half = type == CodebookType::kFloat16;
  if (uint64_t{num_clusters} * (half ? 2 : 4) > reader->remaining()) {
    return make_status(StatusCode::kDamaged, "the codebook must be complete, got %zu at byte %zu",
                       reader->remaining(), base + reader->offset());
  }
  codebook->resize(num_clusters);
  for (float& centroid : *codebook) {
    const size_t at = reader->offset();
    centroid = half ? float_from_half(reader->read<uint16_t>()) : reader->read<float>();
    if (!std::isfinite(centroid)) {
      return make_status(StatusCode::kDamaged, "centroids must be finite, got %g at byte %zu",
                         static_cast<double>(centroid), base + at);
    }
  }
  return Status{};
}

Status check_centroids(const float* codebook, uint32_t num_clusters, CodebookType type) {
  for (uint32_t j = 0; j < num_clusters; ++j) {
    if (!std::isfinite(to_stored(codebook[j], type))) {
      return make_status(StatusCode::kInvalidArgument,
                         "centroid %u must be finite as it is stored, got %g", j,
                         static_cast<double>(codebook[j]));
    }
  }
  return Status{};
}

void append_codebook(const float* codebook, uint32_t num_clusters, CodebookType type,
                     std::vector<uint8_t>* bytes) {
  const size_t width = type == CodebookType::kFloat16 ? 2 : 4;
  const size_t first = bytes->size();
  bytes->resize(first + num_clusters * width);
  uint8_t* out = bytes->data() + first;
  for (uint32_t j = 0; j < num_clusters; ++j, out += width) {
    const uint16_t half = half_from_float(codebook[j]);
    std::memcpy(out, width == 2 ? static_cast<const void*>(&half) : codebook + j, width);
  }
}

float RegularCodebook::centroid(uint32_t index, CodebookType type) const {
  return to_stored(step * static_cast<float>(static_cast<int32_t>(index) - origin), type);
}

bool find_regular(const float* codebook, uint32_t num_clusters, CodebookType type,
                  RegularCodebook* regular) {
  if (num_clusters < 2) return false;
  const uint32_t last = num_clusters - 1;
  const double mean_step = (double{codebook[last]} - double{codebook[0]}) / last;
  if (mean_step == 0) return false;
  const double origin = -double{codebook[0]} / mean_step;
  if (!(std::fabs(origin) < 32767)) return false;
  regular->origin = static_cast<int32_t>(std::lround(origin));
  // The step as the ends have it, and as the centroid that is nearest to it has it.
  const int32_t one = regular->origin + 1;
  const bool has_one = one >= 0 && static_cast<uint32_t>(one) < num_clusters;
  for (const float step : {has_one ? codebook[one] : 0.0f, static_cast<float>(mean_step)}) {
    regular->step = step;
    uint32_t j = 0;
    while (j < num_clusters && is_same(regular->centroid(j, type), to_stored(codebook[j], type))) {
      ++j;
    }
    if (j == num_clusters) return true;
  }
  return false;
}

Status read_regular(ByteReader* reader, CodebookType type, uint32_t num_clusters, size_t base,
                    std::vector<float>* codebook) {
  const size_t at = base + reader->offset();
  RegularCodebook regular;
  regular.step = reader->read<float>();
  regular.origin = reader->read<int16_t>();
  if (reader->failed()) {
    return make_status(StatusCode::kDamaged, "the codebook must be complete, got %zu at byte %zu",
                       reader->remaining(), at);
  }
  codebook->resize(num_clusters);
  for (uint32_t j = 0; j < num_clusters; ++j) {
    (*codebook)[j] = regular.centroid(j, type);
    if (!std::isfinite((*codebook)[j])) {
      return make_status(StatusCode::kDamaged, "centroids must be finite, got %g at byte %zu",
                         static_cast<double>((*codebook)[j]), at);
    }
  }
  return Status{};
}

void append_regular(const RegularCodebook& regular, std::vector<uint8_t>* bytes) {
  const int16_t origin = static_cast<int16_t>(regular.origin);
  uint8_t raw[kRegularCodebookBytes];
  std::memcpy(raw, &regular.step, 4);
  std::memcpy(raw + 4, &origin, 2);
  bytes->insert(bytes->end(), raw, raw + sizeof(raw));
}

}  // namespace wl
