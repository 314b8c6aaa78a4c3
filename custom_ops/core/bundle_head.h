// What the tensors of a bundle have but their weights, read and written by the same code.
#ifndef WL_CORE_BUNDLE_HEAD_H_
#define WL_CORE_BUNDLE_HEAD_H_

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "core/bundle_blob.h"
#include "core/codebook.h"
#include "core/element.h"
#include "core/range_coder.h"

namespace wl {

// `num_bits` bits, the highest first, each with a model of its own after those before it.
template <int num_bits>
class TreeModel {
 public:
  template <typename Coder>
  void code(Coder* coder, uint32_t* value) {
    uint32_t node = 1;
    for (int i = num_bits - 1; i >= 0; --i) {
      bool bit = (*value >> i & 1U) != 0;
      coder->bit(&models_[node], &bit);
      node = 2 * node + uint32_t{bit};
    }
    *value = node - (1U << num_bits);
  }

 private:
  std::array<BitModel, size_t{1} << num_bits> models_;
};

// A number of up to 32 bits: as before, or its length and its bits.
class NumberModel {
 public:
  template <typename Coder>
  void code(Coder* coder, uint32_t* value) {
    bool is_same = *value == last_;
    coder->bit(&same_, &is_same);
    if (is_same) {
      *value = last_;
      return;
    }
    uint32_t length = 0;
    if constexpr (!Coder::kDecodes) {
      while (length < 32 && *value >> length != 0) ++length;
    }
    length_.code(coder, &length);
    length = std::min(length, 32U);
    bool is_power = (*value & (*value - 1)) == 0;
    if (length > 2) {
      coder->bit(&power_, &is_power);
    } else {
      is_power = false;
    }
    const int tail_bits = length > 1 && !is_power ? static_cast<int>(length) - 1 : 0;
    uint32_t tail = length > 1 ? *value - (1U << (length - 1)) : 0;
    if (is_power) tail = 0;
    coder->raw(tail_bits, &tail);
    *value = length == 0 ? 0 : (1U << (length - 1)) + tail;
    last_ = *value;
  }

 private:
  BitModel same_;
  BitModel power_;
  TreeModel<6> length_;
  uint32_t last_ = 0;
};

// A float32: sign and exponent, how many bits of the mantissa count, and these.
class FloatModel {
 public:
  template <typename Coder>
  void code(Coder* coder, float* value) {
    uint32_t bits;
    std::memcpy(&bits, value, sizeof(bits));
    uint32_t top = bits >> 23;
    top_.code(coder, &top);
    uint32_t mantissa = bits & 0x7fffffU;
    uint32_t length = 0;
    while (length < 23 && (mantissa & ((1U << (23 - length)) - 1)) != 0) ++length;
    length_.code(coder, &length);
    length = std::min(length, 23U);
    // The last bit that counts is 1.
    uint32_t kept = length > 0 ? mantissa >> (24 - length) : 0;
    coder->raw(static_cast<int>(std::max(length, 1U)) - 1, &kept);
    mantissa = length > 0 ? (2 * kept + 1) << (23 - length) : 0;
    bits = top << 23 | mantissa;
    std::memcpy(value, &bits, sizeof(bits));
  }

 private:
  TreeModel<9> top_;
  TreeModel<5> length_;
};

// A number with a sign.
class DifferenceModel {
 public:
  template <typename Coder>
  void code(Coder* coder, int64_t* value) {
    uint32_t size = static_cast<uint32_t>(*value < 0 ? -*value : *value);
    uint32_t length = 0;
    if constexpr (!Coder::kDecodes) {
      while (length < 32 && size >> length != 0) ++length;
    }
    length_.code(coder, &length);
    length = std::min(length, 32U);
    uint32_t tail = length > 1 ? size - (1U << (length - 1)) : 0;
    coder->raw(static_cast<int>(std::max(length, 1U)) - 1, &tail);
    size = length == 0 ? 0 : (1U << (length - 1)) + tail;
    uint32_t is_negative = *value < 0 ? 1 : 0;
    if (length > 0) coder->raw(1, &is_negative);
    *value = is_negative != 0 ? -int64_t{size} : int64_t{size};
  }

 private:
  TreeModel<6> length_;
};

// Centroids from the one of level 0 outward; each but the first is foretold by the others.
class CodebookModel {
 public:
  // `codebook` has its final size. Returns false where a centroid that was read is not finite.
  template <typename Coder>
  bool code(Coder* coder, CodebookType type, uint32_t zero_index, std::vector<float>* codebook) {
    float* centroids = codebook->data();
    centre_.code(coder, &centroids[zero_index]);
    const double centre = centroids[zero_index];
    bool finite = std::isfinite(centroids[zero_index]);
    const uint32_t above = static_cast<uint32_t>(codebook->size()) - 1 - zero_index;
    for (uint32_t i = 1; finite && i <= above; ++i) {
      float* centroid = &centroids[zero_index + i];
      if (i == 1) {
        first_.code(coder, centroid);
        finite = std::isfinite(*centroid);
      } else {
        finite = code_foretold(coder, type, extrapolate(centre, centroid[-1], i), i, centroid);
      }
    }
    for (uint32_t i = 1; finite && i <= zero_index; ++i) {
      float* centroid = &centroids[zero_index - i];
      if (i == 1 && above == 0) {
        first_.code(coder, centroid);
        finite = std::isfinite(*centroid);
      } else {
        const double foretold = i == 1 ? centre - (centroids[zero_index + 1] - centre)
                                       : extrapolate(centre, centroid[1], i);
        finite = code_foretold(coder, type, foretold, i, centroid);
      }
    }
    return finite;
  }

 private:
  // Where the i-th centroid is if it goes on as far as the ones before it, on average.
  static double extrapolate(double centre, double previous, uint32_t i) {
    return centre + (previous - centre) * i / (i - 1);
  }

  // Finite numbers of the type in their order; 0 is 0.
  static int64_t to_ordinal(float value, CodebookType type) {
    int64_t magnitude;
    if (type == CodebookType::kFloat16) {
      magnitude = half_from_float(value) & 0x7fff;
    } else {
      uint32_t bits;
      std::memcpy(&bits, &value, sizeof(bits));
      magnitude = bits & 0x7fffffffU;
    }
    return std::signbit(value) ? -magnitude : magnitude;
  }

  static int64_t largest_ordinal(CodebookType type) {
    return type == CodebookType::kFloat16 ? 0x7bff : 0x7f7fffff;
  }

  static float from_ordinal(int64_t ordinal, CodebookType type) {
    const uint32_t magnitude = static_cast<uint32_t>(ordinal < 0 ? -ordinal : ordinal);
    float value;
    if (type == CodebookType::kFloat16) {
      value = float_from_half(static_cast<uint16_t>(magnitude));
    } else {
      std::memcpy(&value, &magnitude, sizeof(value));
    }
    return ordinal < 0 ? -value : value;
  }

  template <typename Coder>
  bool code_foretold(Coder* coder, CodebookType type, double foretold, uint32_t i,
                     float* centroid) {
    const int64_t limit = largest_ordinal(type);
    const float nearest = static_cast<float>(std::clamp(foretold, -3.4e38, 3.4e38));
    const int64_t expected = std::clamp(to_ordinal(nearest, type), -limit, limit);
    int64_t difference = to_ordinal(*centroid, type) - expected;
    differences_[std::min(i, kNumDifferences) - 1].code(coder, &difference);
    const int64_t ordinal = expected + difference;
    if (ordinal < -limit || ordinal > limit) return false;
    *centroid = from_ordinal(ordinal, type);
    return true;
  }

  static constexpr uint32_t kNumDifferences = 4;
  FloatModel centre_;
  FloatModel first_;
  std::array<DifferenceModel, kNumDifferences> differences_;
};

// What all tensors of a bundle have but their weights.
class BundleHeadModel {
 public:
  // `left` is the number of weights that this tensor and those behind it may have. Returns null,
  // or which rule something that was read breaks.
  template <typename Coder>
  const char* code(Coder* coder, uint32_t left, BundleTensor* tensor) {
    uint32_t kind = static_cast<uint32_t>(tensor->kind);
    kind_.code(coder, &kind);
    if (kind > static_cast<uint32_t>(BundleKind::kFloat32)) return "kinds must be known";
    tensor->kind = static_cast<BundleKind>(kind);
    if (const char* rule = code_shape(coder, left, tensor)) return rule;
    if (!has_levels(tensor->kind)) return nullptr;
    scale_.code(coder, &tensor->scale);
    if (tensor->kind == BundleKind::kStep) {
      step_.code(coder, &tensor->step);
      bool has_offset = tensor->offset != 0;
      coder->bit(&has_offset_, &has_offset);
      if (has_offset) offset_.code(coder, &tensor->offset);
      const bool finite = std::isfinite(tensor->step) && std::isfinite(tensor->offset);
      return finite ? nullptr : "steps and offsets must be finite";
    }
    uint32_t above = static_cast<uint32_t>(tensor->codebook.size()) - tensor->zero_index - 1;
    zero_index_.code(coder, &tensor->zero_index);
    above_.code(coder, &above);
    const uint64_t num_clusters = uint64_t{tensor->zero_index} + above + 1;
    if (num_clusters > kMaxClusters || num_clusters > uint64_t{tensor->num_weights} + 1) {
      return "centroids must be at most 4096 and no more than weights + 1";
    }
    tensor->codebook.resize(static_cast<size_t>(num_clusters));
    const CodebookType type = tensor->kind == BundleKind::kFloat16Codebook ? CodebookType::kFloat16
                                                                           : CodebookType::kFloat32;
    return codebook_.code(coder, type, tensor->zero_index, &tensor->codebook)
               ? nullptr
               : "centroids must be finite";
  }

 private:
  // The length of a row, rows, and what is missing in the last of them.
  template <typename Coder>
  const char* code_shape(Coder* coder, uint32_t left, BundleTensor* tensor) {
    uint32_t num_rows = 1 + (tensor->num_weights - 1) / tensor->row_length;
    uint32_t missing =
        static_cast<uint32_t>(uint64_t{num_rows} * tensor->row_length - tensor->num_weights);
    row_length_.code(coder, &tensor->row_length);
    num_rows_.code(coder, &num_rows);
    missing_.code(coder, &missing);
    const uint64_t row_length = tensor->row_length;
    if (row_length < 1 || num_rows < 1 || missing >= row_length) {
      return "rows must be whole but for the last one";
    }
    const uint64_t num_weights = num_rows * row_length - missing;
    if (num_weights < row_length || num_weights > left) {
      return "weights of all tensors must be as many as the header says";
    }
    tensor->num_weights = static_cast<uint32_t>(num_weights);
    return nullptr;
  }

  TreeModel<3> kind_;
  NumberModel row_length_;
  NumberModel num_rows_;
  NumberModel missing_;
  TreeModel<6> scale_;
  FloatModel step_;
  BitModel has_offset_;
  FloatModel offset_;
  NumberModel zero_index_;
  NumberModel above_;
  CodebookModel codebook_;
};

}  // namespace wl

#endif  // WL_CORE_BUNDLE_HEAD_H_
