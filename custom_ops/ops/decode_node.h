// What a decode node says: its attributes and its blob, each checked.
//
// Everything here throws OpError with the part of the message that follows the node's name.
#ifndef WL_OPS_DECODE_NODE_H_
#define WL_OPS_DECODE_NODE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/element.h"
#include "ops/ort_api.h"

namespace wl {

constexpr char kShapeAttribute[] = "shape";
constexpr char kShapesAttribute[] = "shapes";
constexpr char kDataTypeAttribute[] = "data_type";
constexpr char kBlobAttribute[] = "blob";
constexpr char kCacheAttribute[] = "cache";

constexpr size_t kMaxRank = 64;
constexpr uint64_t kMaxWeights = UINT32_MAX;  // the most that a blob can hold

inline std::string to_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

// The number of elements of a shape, every dimension of which is at least 1.
inline uint64_t num_elements(const std::vector<int64_t>& shape) {
  if (shape.size() > kMaxRank) {
    throw ort::OpError("attribute shape must have at most " + std::to_string(kMaxRank) +
                       " dimensions, got " + std::to_string(shape.size()));
  }
  uint64_t count = 1;
  for (const int64_t dim : shape) {
    if (dim < 1 || static_cast<uint64_t>(dim) > kMaxWeights / count) {
      throw ort::OpError("attribute shape must have dimensions of at least 1 and fewer than 2^32 " +
                         std::string("elements, got ") + to_text(shape));
    }
    count *= static_cast<uint64_t>(dim);
  }
  return count;
}

// The shapes that a bundle's node has as one list: the rank of each, then its dimensions.
inline std::vector<std::vector<int64_t>> split_shapes(const std::vector<int64_t>& flat) {
  std::vector<std::vector<int64_t>> shapes;
  for (size_t at = 0; at < flat.size();) {
    const int64_t rank = flat[at++];
    if (rank < 0 || static_cast<uint64_t>(rank) > flat.size() - at) {
      throw ort::OpError("attribute shapes must have the rank of each shape before it, got " +
                         std::to_string(rank) + " at place " + std::to_string(at - 1));
    }
    const auto first = flat.begin() + static_cast<std::ptrdiff_t>(at);
    shapes.emplace_back(first, first + static_cast<std::ptrdiff_t>(rank));
    at += static_cast<size_t>(rank);
  }
  return shapes;
}

inline ElementType to_element_type(int64_t data_type) {
  for (const ElementType type : {ElementType::kFloat32, ElementType::kFloat16,
                                 ElementType::kFloat64, ElementType::kBfloat16}) {
    if (data_type == static_cast<int64_t>(type)) return type;
  }
  throw ort::OpError(
      "attribute data_type must be 1 (float32), 10 (float16), 11 (float64) or 16 (bfloat16), got " +
      std::to_string(data_type));
}

// Reads a node when its kernel is created.
class NodeReader {
 public:
  NodeReader(const ort::Api& api, const ort::OrtKernelInfo* info) : api_(api), info_(info) {}

  std::string name() const {
    size_t size = 0;
    api_.succeeds<ort::KernelInfoGetNodeName>(info_, static_cast<char*>(nullptr), &size);
    std::vector<char> text(size + 1, '\0');
    if (!api_.succeeds<ort::KernelInfoGetNodeName>(info_, text.data(), &size) || !text[0]) {
      return "(without a name)";
    }
    return text.data();
  }

  std::vector<int64_t> shape() const { return integers(kShapeAttribute); }
  std::vector<std::vector<int64_t>> shapes() const {
    return split_shapes(integers(kShapesAttribute));
  }

  size_t num_outputs() const {
    size_t count = 0;
    api_.call<ort::KernelInfoGetOutputCount>(info_, &count);
    return count;
  }

  ElementType data_type() const {
    int64_t value = 0;
    if (!api_.succeeds<ort::KernelInfoGetAttributeInt64>(info_, kDataTypeAttribute, &value)) {
      throw ort::OpError("attribute data_type must be an integer, got none");
    }
    return to_element_type(value);
  }

  bool cache() const {
    int64_t value = 1;
    api_.succeeds<ort::KernelInfoGetAttributeInt64>(info_, kCacheAttribute, &value);
    if (value != 0 && value != 1) {
      throw ort::OpError("attribute cache must be 0 or 1, got " + std::to_string(value));
    }
    return value == 1;
  }

  // The blob's tensor, an attribute or the input number `index`. `owned` is set where it is a copy
  // that is ours to release; a constant input stays with the session, which outlives its kernels.
  const ort::OrtValue* blob(ort::OwnedValue* owned, size_t index = 0) const {
    const ort::OrtValue* input = constant_input(index);
    ort::OrtAllocator* allocator = nullptr;  // the runtime's own
    api_.call<ort::GetAllocatorWithDefaultOptions>(&allocator);
    ort::OrtValue* copy = nullptr;
    const bool has_attribute =
        api_.succeeds<ort::KernelInfoGetAttributeTensor>(info_, kBlobAttribute, allocator, &copy);
    *owned = api_.own<ort::ReleaseValue>(copy);
    if (has_attribute == (input != nullptr)) {
      throw ort::OpError(
          std::string("its blob must be either a uint8 tensor attribute or an input, got ") +
          (has_attribute ? "both" : "neither"));
    }
    return has_attribute ? copy : input;
  }

 private:
  std::vector<int64_t> integers(const char* attribute) const {
    size_t count = 0;
    if (!api_.succeeds<ort::KernelInfoGetAttributeArrayInt64>(
            info_, attribute, static_cast<int64_t*>(nullptr), &count)) {
      throw ort::OpError(std::string("attribute ") + attribute +
                         " must be a list of integers, got none");
    }
    std::vector<int64_t> values(count);
    if (count > 0) {
      api_.call<ort::KernelInfoGetAttributeArrayInt64>(info_, attribute, values.data(), &count);
    }
    return values;
  }

  // An input of the node, or null where it has no such input.
  const ort::OrtValue* constant_input(size_t index) const {
    size_t num_inputs = 0;
    api_.call<ort::KernelInfoGetInputCount>(info_, &num_inputs);
    if (num_inputs <= index) return nullptr;
    int is_constant = 0;
    const ort::OrtValue* input = nullptr;
    api_.call<ort::KernelInfoGetConstantInputTensor>(info_, index, &is_constant, &input);
    if (!is_constant)
      throw ort::OpError("its input must be an initializer, got a value known at run time only");
    return input;
  }

  const ort::Api& api_;
  const ort::OrtKernelInfo* info_;
};

// Reads a node while types and shapes are inferred, before there is a kernel.
class InferenceReader {
 public:
  InferenceReader(const ort::Api& api, const ort::OrtShapeInferContext* context)
      : api_(api), context_(context) {}

  std::vector<int64_t> shape() const { return integers(kShapeAttribute); }
  std::vector<std::vector<int64_t>> shapes() const {
    return split_shapes(integers(kShapesAttribute));
  }

  ElementType data_type() const {
    const ort::OrtOpAttr* attribute = nullptr;
    int64_t value = 0;
    size_t size_bytes = 0;
    if (!api_.succeeds<ort::ShapeInferContextGetAttribute>(context_, kDataTypeAttribute,
                                                           &attribute) ||
        !api_.succeeds<ort::ReadOpAttr>(attribute, ort::kOpAttrInt, static_cast<void*>(&value),
                                        sizeof(value), &size_bytes)) {
      throw ort::OpError("attribute data_type must be an integer, got none");
    }
    return to_element_type(value);
  }

 private:
  std::vector<int64_t> integers(const char* name) const {
    const ort::OrtOpAttr* attribute = nullptr;
    if (!api_.succeeds<ort::ShapeInferContextGetAttribute>(context_, name, &attribute)) {
      throw ort::OpError(std::string("attribute ") + name +
                         " must be a list of integers, got none");
    }
    size_t size_bytes = 0;  // asked for with room for nothing, which is an error unless it is empty
    int64_t nothing = 0;
    api_.succeeds<ort::ReadOpAttr>(attribute, ort::kOpAttrInts, static_cast<void*>(&nothing),
                                   size_t{0}, &size_bytes);
    std::vector<int64_t> dims(size_bytes / sizeof(int64_t));
    if (!dims.empty()) {
      api_.call<ort::ReadOpAttr>(attribute, ort::kOpAttrInts, static_cast<void*>(dims.data()),
                                 size_bytes, &size_bytes);
    }
    return dims;
  }

  const ort::Api& api_;
  const ort::OrtShapeInferContext* context_;
};

// What a tensor holds; the data is not to be written unless the tensor is an output.
struct TensorData {
  int32_t element_type = 0;
  size_t num_elements = 0;
  uint8_t* data = nullptr;
};

inline TensorData tensor_data(const ort::Api& api, const ort::OrtValue* value) {
  ort::OrtTensorTypeAndShapeInfo* info = nullptr;
  api.call<ort::GetTensorTypeAndShape>(value, &info);
  const auto owned = api.own<ort::ReleaseTensorTypeAndShapeInfo>(info);
  TensorData tensor;
  api.call<ort::GetTensorElementType>(info, &tensor.element_type);
  api.call<ort::GetTensorShapeElementCount>(info, &tensor.num_elements);
  void* data = nullptr;
  api.call<ort::GetTensorMutableData>(const_cast<ort::OrtValue*>(value), &data);
  tensor.data = static_cast<uint8_t*>(data);
  return tensor;
}

// What a blob's tensor holds.
inline TensorData blob_data(const ort::Api& api, const ort::OrtValue* value) {
  const TensorData blob = tensor_data(api, value);
  if (blob.element_type != ort::kElementUint8) {
    throw ort::OpError("its blob must be of element type 2 (uint8), got " +
                       std::to_string(blob.element_type));
  }
  return blob;
}

// Where an output is to be written.
inline uint8_t* output_data(const ort::Api& api, const ort::OrtValue* value, ElementType type) {
  const TensorData output = tensor_data(api, value);
  // onnxruntime 1.17 believes the model's value_info where it contradicts what is inferred.
  if (output.element_type != static_cast<int32_t>(type)) {
    throw ort::OpError("its output must be of element type " +
                       std::to_string(static_cast<int32_t>(type)) +
                       " as attribute data_type, got " + std::to_string(output.element_type));
  }
  return output.data;
}

}  // namespace wl

#endif  // WL_OPS_DECODE_NODE_H_
