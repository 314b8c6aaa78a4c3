// The bundle for Python. Arguments are checked here for type and length only; what they mean is
// checked by the core.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "bindings/bind_decode.h"
#include "bindings/bind_status.h"
#include "core/bundle_blob.h"
#include "core/bundle_decode.h"
#include "core/bundle_encode.h"
#include "core/codebook.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace wl {

void bind_bundle(nb::module_& module);

namespace {

BundleView parse(const Array<const uint8_t>& blob) {
  BundleView view;
  throw_if_error(parse_bundle(blob.data(), blob.size(), &view));
  return view;
}

// Counts beyond 32 bits are refused by the core, which allows far less.
uint32_t saturated(uint64_t value) {
  return static_cast<uint32_t>(std::min<uint64_t>(value, UINT32_MAX));
}

// Collects the tensors of a bundle; the arrays are kept until it is encoded.
class BundleWriter {
 public:
  void add_step(Array<const int32_t> levels, uint64_t row_length, float step, float offset) {
    BundleTensor tensor = make(BundleKind::kStep, levels.size(), row_length);
    tensor.step = step;
    tensor.offset = offset;
    add(std::move(tensor), &levels, nullptr);
  }

  void add_codebook(Array<const int32_t> levels, uint64_t row_length, Array<const float> codebook,
                    uint64_t zero_index, bool is_half) {
    BundleTensor tensor =
        make(is_half ? BundleKind::kFloat16Codebook : BundleKind::kFloat32Codebook, levels.size(),
             row_length);
    tensor.codebook.assign(codebook.data(),
                           codebook.data() + std::min<size_t>(codebook.size(), kMaxClusters + 1));
    tensor.zero_index = saturated(zero_index);
    add(std::move(tensor), &levels, nullptr);
  }

  void add_values(Array<const float> values, uint64_t row_length, bool is_half) {
    add(make(is_half ? BundleKind::kFloat16 : BundleKind::kFloat32, values.size(), row_length),
        nullptr, &values);
  }

  nb::bytes encode() const {
    std::vector<uint8_t> bytes;
    Status status;
    {
      nb::gil_scoped_release release;
      status = encode_bundle(sources_, &bytes);
    }
    throw_if_error(status);
    return nb::bytes(bytes.data(), bytes.size());
  }

 private:
  static BundleTensor make(BundleKind kind, size_t num_weights, uint64_t row_length) {
    BundleTensor tensor;
    tensor.kind = kind;
    tensor.num_weights = saturated(num_weights);
    tensor.row_length = saturated(row_length);
    return tensor;
  }

  void add(BundleTensor tensor, const Array<const int32_t>* levels,
           const Array<const float>* values) {
    BundleSource source;
    source.tensor = std::move(tensor);
    if (levels != nullptr) {
      source.levels = levels->data();
      levels_.push_back(*levels);
    } else {
      source.values = values->data();
      values_.push_back(*values);
    }
    sources_.push_back(std::move(source));
  }

  std::vector<BundleSource> sources_;
  std::vector<Array<const int32_t>> levels_;
  std::vector<Array<const float>> values_;
};

// `outputs[i]`: the bytes of tensor i, of element type `onnx_types[i]`.
void decode(Array<const uint8_t> blob, const std::vector<int>& onnx_types,
            const std::vector<Array<uint8_t>>& outputs) {
  const BundleView view = parse(blob);
  if (outputs.size() != view.tensors.size() || onnx_types.size() != view.tensors.size()) {
    throw InvalidArgumentError("there must be " + std::to_string(view.tensors.size()) +
                               " outputs and types, got " + std::to_string(outputs.size()) +
                               " and " + std::to_string(onnx_types.size()));
  }
  std::vector<uint8_t*> targets;
  std::vector<ElementType> types;
  for (size_t i = 0; i < outputs.size(); ++i) {
    check_output(view.tensors[i].num_weights, checked_element_size(onnx_types[i]),
                 outputs[i].size());
    targets.push_back(outputs[i].data());
    types.push_back(static_cast<ElementType>(onnx_types[i]));
  }
  Status status;
  {
    nb::gil_scoped_release release;
    status = decode_bundle(view, targets, types, nullptr);
  }
  throw_if_error(status);
}

nb::list describe(Array<const uint8_t> blob) {
  const BundleView view = parse(blob);
  const std::vector<uint8_t*> nowhere(view.tensors.size(), nullptr);
  const std::vector<ElementType> types(view.tensors.size(), ElementType::kFloat32);
  std::vector<uint64_t> bits;
  Status status;
  {
    nb::gil_scoped_release release;
    status = decode_bundle(view, nowhere, types, &bits);
  }
  throw_if_error(status);
  nb::list tensors;
  for (size_t i = 0; i < view.tensors.size(); ++i) {
    const BundleTensor& tensor = view.tensors[i];
    nb::dict fields;
    fields["kind"] = static_cast<int>(tensor.kind);
    fields["num_weights"] = tensor.num_weights;
    fields["row_length"] = tensor.row_length;
    fields["step"] = tensor.step;
    fields["offset"] = tensor.offset;
    fields["zero_index"] = tensor.zero_index;
    fields["codebook"] = nb::cast(tensor.codebook);
    fields["bits"] = view.head_bits[i] + bits[i];
    tensors.append(fields);
  }
  return tensors;
}

// The number of weights of each tensor, without a look at the weights.
std::vector<uint32_t> sizes(Array<const uint8_t> blob) {
  std::vector<uint32_t> counts;
  for (const BundleTensor& tensor : parse(blob).tensors) counts.push_back(tensor.num_weights);
  return counts;
}

}  // namespace

void bind_bundle(nb::module_& module) {
  nb::class_<BundleWriter>(module, "BundleWriter")
      .def(nb::init<>())
      .def("add_step", &BundleWriter::add_step, "levels"_a, "row_length"_a, "step"_a, "offset"_a)
      .def("add_codebook", &BundleWriter::add_codebook, "levels"_a, "row_length"_a, "codebook"_a,
           "zero_index"_a, "is_half"_a)
      .def("add_values", &BundleWriter::add_values, "values"_a, "row_length"_a, "is_half"_a)
      .def("encode", &BundleWriter::encode);
  module.def("bundle_decode", &decode, "blob"_a, "onnx_types"_a, "outputs"_a);
  module.def("bundle_describe", &describe, "blob"_a);
  module.def("bundle_sizes", &sizes, "blob"_a);
}

}  // namespace wl
