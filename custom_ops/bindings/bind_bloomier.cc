// The Bloomier filter for Python. Arguments are checked here for type and length only; what they
// mean is checked by the core.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <string>
#include <vector>

#include "bindings/bind_decode.h"
#include "bindings/bind_status.h"
#include "core/bloomier_blob.h"
#include "core/bloomier_decode.h"
#include "core/bloomier_encode.h"
#include "core/kernels/targets.h"
#include "core/parallel.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace wl {
namespace {

// Groups that a thread decodes at a time: 64 Ki weights.
constexpr uint64_t kGroupsPerTask = 64;

BloomierView parse(const Array<const uint8_t>& blob) {
  BloomierView view;
  throw_if_error(parse_bloomier(blob.data(), blob.size(), &view));
  return view;
}

nb::bytes encode(Array<const uint32_t> indices, Array<const uint16_t> values, uint64_t num_weights,
                 Array<const float> codebook, Array<const uint8_t> lengths, int layout, int hash,
                 int codebook_type, uint32_t seed, uint32_t threads) {
  if (lengths.size() != codebook.size()) {
    throw InvalidArgumentError("there must be one length for each centroid, got " +
                               std::to_string(lengths.size()) + " for " +
                               std::to_string(codebook.size()));
  }
  if (indices.size() != values.size()) {
    throw InvalidArgumentError("there must be one value for each index, got " +
                               std::to_string(values.size()) + " for " +
                               std::to_string(indices.size()));
  }
  BloomierSpec spec;
  spec.num_weights = num_weights;
  spec.indices = indices.data();
  spec.values = values.data();
  spec.num_keys = indices.size();
  spec.codebook = codebook.data();
  spec.num_clusters = static_cast<uint32_t>(std::min<size_t>(codebook.size(), kMaxClusters + 1));
  spec.bits = lengths.size() > 0 ? lengths.data()[0] : 1;
  spec.lengths = lengths.data();
  spec.layout = static_cast<Layout>(layout);
  spec.hash = static_cast<Hash>(hash);
  spec.codebook_type = static_cast<CodebookType>(codebook_type);
  spec.seed = seed;
  std::vector<uint8_t> bytes;
  Status status;
  {
    nb::gil_scoped_release release;
    status = encode_bloomier(spec, std::max(1U, threads), &bytes);
  }
  throw_if_error(status);
  return nb::bytes(bytes.data(), bytes.size());
}

void decode_elements(const BloomierView& view, const std::vector<uint8_t>& elements,
                     size_t element_bytes, uint32_t threads, uint8_t* output) {
  nb::gil_scoped_release release;
  const uint64_t num_groups = view.num_groups();
  const uint64_t num_tasks = (num_groups + kGroupsPerTask - 1) / kGroupsPerTask;
  parallel_for(num_tasks, std::max(1U, threads), [&](uint32_t, uint64_t task) {
    const uint64_t first = task * kGroupsPerTask;
    const uint64_t last = std::min(num_groups, first + kGroupsPerTask);
    decode_groups(view, elements.data(), element_bytes, first, last,
                  output + first * kGroupSize * element_bytes);
  });
}

// `output`: the bytes of the tensor, element type `onnx_type`.
void decode(Array<const uint8_t> blob, int onnx_type, uint32_t threads, Array<uint8_t> output) {
  const size_t element_bytes = checked_element_size(onnx_type);
  const BloomierView view = parse(blob);
  check_output(view.num_weights, element_bytes, output.size());
  decode_elements(view, to_elements(view.codebook, onnx_type), element_bytes, threads,
                  output.data());
}

// `output`: 0 for a zero weight, j + 1 for centroid j.
void decode_codes(Array<const uint8_t> blob, uint32_t threads, Array<uint16_t> output) {
  const BloomierView view = parse(blob);
  check_output(view.num_weights, sizeof(uint16_t), output.size() * sizeof(uint16_t));
  std::vector<uint8_t> elements;
  for (uint32_t place = 0; place < view.num_clusters; ++place) {
    const uint32_t code = view.centroid_number(place) + 1;
    elements.push_back(static_cast<uint8_t>(code & 0xffU));
    elements.push_back(static_cast<uint8_t>(code >> 8));
  }
  decode_elements(view, elements, sizeof(uint16_t), threads,
                  reinterpret_cast<uint8_t*>(output.data()));
}

nb::dict describe(Array<const uint8_t> blob) {
  const BloomierView view = parse(blob);
  nb::dict fields;
  fields["layout"] = static_cast<int>(view.layout);
  fields["hash"] = static_cast<int>(view.hash);
  fields["bits"] = view.bits;
  fields["codebook_type"] = static_cast<int>(view.codebook_type);
  fields["num_weights"] = view.num_weights;
  fields["num_keys"] = view.num_keys;
  fields["num_clusters"] = view.num_clusters;
  fields["num_blocks"] = view.blocks.size();
  fields["seed"] = view.seed;
  std::vector<float> codebook(view.num_clusters);
  std::vector<int> lengths(view.num_clusters, view.bits);
  for (uint32_t place = 0; place < view.num_clusters; ++place) {
    codebook[view.centroid_number(place)] = view.codebook[place];
  }
  uint32_t place = 0;
  for (const CodeLevel& level : view.code.levels) {
    for (; place < level.num_codes; ++place) lengths[view.code.order[place]] = level.length;
  }
  fields["codebook"] = codebook;
  fields["lengths"] = lengths;
  return fields;
}

}  // namespace

void bind_bloomier(nb::module_& module) {
  module.def("bloomier_encode", &encode, "indices"_a.noconvert(), "values"_a.noconvert(),
             "num_weights"_a, "codebook"_a.noconvert(), "lengths"_a.noconvert(), "layout"_a,
             "hash"_a, "codebook_type"_a, "seed"_a, "threads"_a, "The blob without its checksum.");
  module.def("bloomier_decode", &decode, "blob"_a, "onnx_type"_a, "threads"_a,
             "output"_a.noconvert(), "Writes the tensor's bytes into `output`.");
  module.def("bloomier_decode_codes", &decode_codes, "blob"_a, "threads"_a, "output"_a.noconvert(),
             "Writes 0 or centroid + 1 for each weight into `output`.");
  module.def("bloomier_describe", &describe, "blob"_a, "The fields of a blob's header.");
  module.def("available_targets", [] {
    std::vector<std::string> names;
    for (const char* name : available_targets()) names.emplace_back(name);
    return names;
  });
  module.def("current_target", [] { return std::string(current_kernel().name); });
  module.def(
      "set_target", [](const std::string& name) { return set_target(name.c_str()); }, "name"_a);
}

}  // namespace wl
