#include "core/bundle_decode.h"

#include <cmath>
#include <cstring>
#include <new>

#include "core/bundle_levels.h"

namespace wl {
namespace {

constexpr uint32_t kBlockWeights = 4096;  // that are converted at a time

class BundleDecoder {
 public:
  explicit BundleDecoder(const BundleView& view)
      : view_(view), coder_(view.coder), model_(&coder_) {}

  Status decode(const std::vector<uint8_t*>& outputs, const std::vector<ElementType>& types,
                std::vector<uint64_t>* bits) {
    uint64_t position = coder_.position_bits();
    for (uint32_t i = 0; i < view_.tensors.size(); ++i) {
      const BundleTensor& tensor = view_.tensors[i];
      if (has_levels(tensor.kind)) {
        levels_.assign(tensor.num_weights, 0);
        model_.code_levels(i, tensor, levels_.data());
      } else {
        floats_.assign(tensor.num_weights, 0);
        model_.code_floats(tensor.kind, tensor.num_weights, floats_.data());
      }
      if (bits != nullptr) {
        bits->push_back(coder_.position_bits() - position);
        position = coder_.position_bits();
      }
      if (outputs[i] != nullptr && !write(tensor, types[i], outputs[i])) {
        return make_status(StatusCode::kDamaged, "weights must be finite, got another in tensor %u",
                           i);
      }
    }
    if (coder_.is_at_end()) return Status{};
    return make_status(StatusCode::kDamaged,
                       "the payload must end with the last tensor, got bytes behind it");
  }

 private:
  float value_at(const BundleTensor& tensor, uint32_t at) const {
    if (has_levels(tensor.kind)) return tensor.value(levels_[at]);
    if (tensor.kind == BundleKind::kFloat16) {
      return float_from_half(static_cast<uint16_t>(floats_[at]));
    }
    float value;
    std::memcpy(&value, &floats_[at], sizeof(value));
    return value;
  }

  // False where a weight is not finite.
  bool write(const BundleTensor& tensor, ElementType type, uint8_t* output) {
    for (uint32_t first = 0; first < tensor.num_weights; first += kBlockWeights) {
      const uint32_t count = std::min(kBlockWeights, tensor.num_weights - first);
      values_.resize(count);
      for (uint32_t j = 0; j < count; ++j) {
        values_[j] = value_at(tensor, first + j);
        if (!std::isfinite(values_[j])) return false;
      }
      if (!convert_elements(values_, type, &elements_)) throw std::bad_alloc();
      std::memcpy(output, elements_.data(), elements_.size());
      output += elements_.size();
    }
    return true;
  }

  const BundleView& view_;
  RangeDecoder coder_;
  LevelModel<RangeDecoder> model_;
  std::vector<int32_t> levels_;
  std::vector<uint32_t> floats_;
  std::vector<float> values_;
  std::vector<uint8_t> elements_;
};

}  // namespace

Status decode_bundle(const BundleView& view, const std::vector<uint8_t*>& outputs,
                     const std::vector<ElementType>& types, std::vector<uint64_t>* bits) {
  try {
    return BundleDecoder(view).decode(outputs, types, bits);
  } catch (const std::bad_alloc&) {
    return make_status(StatusCode::kOutOfMemory, "memory ran out while the bundle was decoded");
  }
}

}  // namespace wl
