#include "core/bundle_encode.h"

#include <cmath>
#include <cstring>
#include <new>

#include "core/bundle_levels.h"
#include "core/container.h"

namespace wl {
namespace {

Status invalid(size_t tensor, const char* rule, double got) {
  return make_status(StatusCode::kInvalidArgument, "tensor %zu: %s, got %g", tensor, rule, got);
}

Status check_levels(const BundleSource& source, size_t index) {
  const BundleTensor& tensor = source.tensor;
  if (has_codebook(tensor.kind)) {
    const size_t num_clusters = tensor.codebook.size();
    if (num_clusters < 1 || num_clusters > kMaxClusters ||
        num_clusters > size_t{tensor.num_weights} + 1) {
      return invalid(index, "centroids must be 1 to 4096 and no more than weights + 1",
                     static_cast<double>(num_clusters));
    }
    if (tensor.zero_index >= num_clusters) {
      return invalid(index, "zero_index must be below the number of centroids", tensor.zero_index);
    }
    for (const float centroid : tensor.codebook) {
      const bool is_half = tensor.kind == BundleKind::kFloat16Codebook;
      if (!std::isfinite(is_half ? float_from_half(half_from_float(centroid)) : centroid)) {
        return invalid(index, "centroids must be finite as they are stored", double{centroid});
      }
    }
  } else if (!std::isfinite(tensor.step) || !std::isfinite(tensor.offset)) {
    return invalid(index, "step and offset must be finite",
                   double{std::isfinite(tensor.step) ? tensor.offset : tensor.step});
  }
  const int64_t lowest = -int64_t{tensor.lowest()};
  const int64_t highest = tensor.highest();
  for (uint32_t i = 0; i < tensor.num_weights; ++i) {
    const int32_t level = source.levels[i];
    if (level < lowest || level > highest) {
      return invalid(index, "levels must be within the codebook, or at most 2^24 steps", level);
    }
    if (!std::isfinite(tensor.value(level))) {
      return invalid(index, "weights must be finite float32 numbers", double{tensor.value(level)});
    }
  }
  return Status{};
}

Status check_source(const BundleSource& source, size_t index) {
  const BundleTensor& tensor = source.tensor;
  if (tensor.row_length < 1 || tensor.row_length > tensor.num_weights) {
    return invalid(index, "row_length must be from 1 to the number of weights", tensor.row_length);
  }
  if (has_levels(tensor.kind)) return check_levels(source, index);
  for (uint32_t i = 0; i < tensor.num_weights; ++i) {
    const float value = source.values[i];
    const bool fits =
        tensor.kind != BundleKind::kFloat16 || float_from_half(half_from_float(value)) == value;
    if (!std::isfinite(value) || !fits) {
      return invalid(index, "weights must be finite numbers of the type", double{value});
    }
  }
  return Status{};
}

Status check(const std::vector<BundleSource>& sources) {
  if (sources.empty() || sources.size() > kMaxBundleTensors) {
    return make_status(StatusCode::kInvalidArgument, "tensors must be from 1 to %u, got %zu",
                       kMaxBundleTensors, sources.size());
  }
  uint64_t num_weights = 0;
  for (size_t i = 0; i < sources.size(); ++i) {
    num_weights += sources[i].tensor.num_weights;
    if (sources[i].tensor.num_weights < 1 || num_weights > kMaxBundleWeights) {
      return make_status(StatusCode::kInvalidArgument,
                         "each tensor must have a weight, and all together at most %u, got %llu",
                         kMaxBundleWeights, static_cast<unsigned long long>(num_weights));
    }
    const Status status = check_source(sources[i], i);
    if (!status.ok()) return status;
  }
  return Status{};
}

void encode_weights(const std::vector<BundleSource>& sources, RangeEncoder* coder) {
  LevelModel<RangeEncoder> model(coder);
  for (uint32_t i = 0; i < sources.size(); ++i) {
    const BundleTensor& tensor = sources[i].tensor;
    if (has_levels(tensor.kind)) {
      std::vector<int32_t> levels(sources[i].levels, sources[i].levels + tensor.num_weights);
      model.code_levels(i, tensor, levels.data());
      continue;
    }
    std::vector<uint32_t> bits(tensor.num_weights);
    for (uint32_t at = 0; at < tensor.num_weights; ++at) {
      const float value = sources[i].values[at];
      bits[at] = half_from_float(value);
      if (tensor.kind == BundleKind::kFloat32) std::memcpy(&bits[at], &value, sizeof(value));
    }
    model.code_floats(tensor.kind, tensor.num_weights, bits.data());
  }
}

void construct(std::vector<BundleSource>* sources, std::vector<uint8_t>* bytes) {
  RangeEncoder coder;
  NumberModel count_model;
  uint32_t num_tensors = static_cast<uint32_t>(sources->size());
  count_model.code(&coder, &num_tensors);
  BundleHeadModel head_model;
  uint64_t num_weights = 0;
  for (BundleSource& source : *sources) {
    BundleTensor& tensor = source.tensor;
    if (tensor.kind == BundleKind::kFloat16Codebook) {
      for (float& centroid : tensor.codebook) centroid = float_from_half(half_from_float(centroid));
    }
    if (has_levels(tensor.kind)) tensor.scale = measure_scale(source.levels, tensor.num_weights);
    num_weights += tensor.num_weights;
    head_model.code(&coder, kMaxBundleWeights, &tensor);
  }
  encode_weights(*sources, &coder);
  const std::vector<uint8_t> payload = coder.finish();
  bytes->resize(kContainerHeaderBytes);
  begin_container(Codec::kBundle, num_weights, bytes->data());
  bytes->insert(bytes->end(), payload.begin(), payload.end());
}

}  // namespace

Status encode_bundle(std::vector<BundleSource> sources, std::vector<uint8_t>* bytes) {
  const Status status = check(sources);
  if (!status.ok()) return status;
  try {
    construct(&sources, bytes);
    return Status{};
  } catch (const std::bad_alloc&) {
    return make_status(StatusCode::kOutOfMemory, "memory ran out while the bundle was encoded");
  }
}

}  // namespace wl
