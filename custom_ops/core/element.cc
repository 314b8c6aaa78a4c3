#include "core/element.h"

#include <cmath>
#include <cstring>
#include <new>

namespace wl {
namespace {

uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

// `value >> shift`, rounded to nearest, ties to even; shift from 1 to 31.
uint32_t shift_right_rounded(uint32_t value, uint32_t shift) {
  const uint32_t half = 1U << (shift - 1);
  const uint32_t odd = (value >> shift) & 1U;
  return (value + half - 1 + odd) >> shift;
}

template <typename T>
void append(T element, std::vector<uint8_t>* elements) {
  const size_t at = elements->size();
  elements->resize(at + sizeof(T));
  std::memcpy(elements->data() + at, &element, sizeof(T));
}

}  // namespace

size_t element_size(int32_t onnx_type) {
  switch (onnx_type) {
    case static_cast<int32_t>(ElementType::kFloat32):
      return 4;
    case static_cast<int32_t>(ElementType::kFloat16):
    case static_cast<int32_t>(ElementType::kBfloat16):
      return 2;
    case static_cast<int32_t>(ElementType::kFloat64):
      return 8;
    default:
      return 0;
  }
}

float float_from_half(uint16_t bits) {
  const int exponent = (bits >> 10) & 0x1f;
  const int mantissa = bits & 0x3ff;
  float magnitude;
  if (exponent == 0x1f) {
    magnitude = mantissa ? NAN : INFINITY;
  } else if (exponent == 0) {
    magnitude = std::ldexp(static_cast<float>(mantissa), -24);
  } else {
    magnitude = std::ldexp(static_cast<float>(mantissa + 0x400), exponent - 25);
  }
  return bits & 0x8000 ? -magnitude : magnitude;
}

uint16_t half_from_float(float value) {
  const uint32_t bits = bits_of(value);
  const uint32_t sign = (bits >> 16) & 0x8000U;
  const uint32_t magnitude = bits & 0x7fffffffU;
  uint32_t half;
  if (magnitude > 0x7f800000U) {
    half = 0x7e00U;  // not a number
  } else if (magnitude >= 0x47800000U) {
    half = 0x7c00U;  // 65536 and above
  } else if (magnitude >= 0x38800000U) {
    half = shift_right_rounded(magnitude - 0x38000000U, 13);  // a carry may reach infinity, rightly
  } else if (magnitude >= 0x33000000U) {                      // 2^-25 and above: a subnormal half
    const uint32_t significand = (magnitude & 0x7fffffU) | 0x800000U;
    half = shift_right_rounded(significand, 126U - (magnitude >> 23));
  } else {
    half = 0;
  }
  return static_cast<uint16_t>(sign | half);
}

uint16_t bfloat16_from_float(float value) {
  const uint32_t bits = bits_of(value);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return static_cast<uint16_t>((bits >> 16) | 0x40U);
  return static_cast<uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

bool convert_elements(const std::vector<float>& values, ElementType type,
                      std::vector<uint8_t>* elements) {
  elements->clear();
  try {
    elements->reserve(values.size() * element_size(static_cast<int32_t>(type)));
    for (const float value : values) {
      switch (type) {
        case ElementType::kFloat32:
          append(value, elements);
          break;
        case ElementType::kFloat16:
          append(half_from_float(value), elements);
          break;
        case ElementType::kFloat64:
          append(static_cast<double>(value), elements);
          break;
        case ElementType::kBfloat16:
          append(bfloat16_from_float(value), elements);
          break;
      }
    }
  } catch (const std::bad_alloc&) {
    return false;
  }
  return true;
}

}  // namespace wl
