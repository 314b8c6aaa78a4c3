// The element types that a weight may be decoded to, and conversions from float32.
#ifndef WL_CORE_ELEMENT_H_
#define WL_CORE_ELEMENT_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace wl {

// ONNX's numbers (TensorProto.DataType).
enum class ElementType : int32_t { kFloat32 = 1, kFloat16 = 10, kFloat64 = 11, kBfloat16 = 16 };

// Bytes of one element, or 0 where `onnx_type` is none of ElementType.
size_t element_size(int32_t onnx_type);

// IEEE 754 binary16, exact.
float float_from_half(uint16_t bits);

// Round to nearest, ties to even; overflow gives infinity.
uint16_t half_from_float(float value);
uint16_t bfloat16_from_float(float value);

// The values as elements of `type`. Returns false when memory runs out.
bool convert_elements(const std::vector<float>& values, ElementType type,
                      std::vector<uint8_t>* elements);

}  // namespace wl

#endif  // WL_CORE_ELEMENT_H_
