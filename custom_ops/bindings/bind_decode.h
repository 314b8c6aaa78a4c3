// What the decoders' bindings share: arrays of NumPy, and elements for the core to write.
#ifndef WL_BINDINGS_BIND_DECODE_H_
#define WL_BINDINGS_BIND_DECODE_H_

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <new>
#include <string>
#include <vector>

#include "bindings/bind_status.h"
#include "core/element.h"

namespace wl {

template <typename T>
using Array = nanobind::ndarray<T, nanobind::ndim<1>, nanobind::c_contig, nanobind::device::cpu>;

inline size_t checked_element_size(int onnx_type) {
  const size_t element_bytes = element_size(onnx_type);
  if (element_bytes == 0) {
    throw InvalidArgumentError("the element type must be 1, 10, 11 or 16, got " +
                               std::to_string(onnx_type));
  }
  return element_bytes;
}

inline void check_output(uint64_t num_weights, size_t element_bytes, size_t output_bytes) {
  if (output_bytes / element_bytes != num_weights || output_bytes % element_bytes != 0) {
    throw InvalidArgumentError("the output must have " + std::to_string(num_weights) +
                               " elements of " + std::to_string(element_bytes) + " bytes, got " +
                               std::to_string(output_bytes) + " bytes");
  }
}

// The centroids as elements of `onnx_type`.
inline std::vector<uint8_t> to_elements(const std::vector<float>& codebook, int onnx_type) {
  std::vector<uint8_t> elements;
  if (!convert_elements(codebook, static_cast<ElementType>(onnx_type), &elements)) {
    throw std::bad_alloc();
  }
  return elements;
}

// The codes first, first + 1, ... as elements of 16 bits.
inline std::vector<uint8_t> code_elements(uint32_t first, uint32_t count) {
  std::vector<uint8_t> elements;
  for (uint32_t code = first; code < first + count; ++code) {
    elements.push_back(static_cast<uint8_t>(code & 0xffU));
    elements.push_back(static_cast<uint8_t>(code >> 8));
  }
  return elements;
}

}  // namespace wl

#endif  // WL_BINDINGS_BIND_DECODE_H_
