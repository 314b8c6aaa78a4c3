#include "core/codebook.h"

#include <cmath>
#include <cstring>

#include "core/element.h"

namespace wl {

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
    const float stored = type == CodebookType::kFloat16
                             ? float_from_half(half_from_float(codebook[j]))
                             : codebook[j];
    if (!std::isfinite(stored)) {
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

}  // namespace wl
