// The palette for Python. Arguments are checked here for type and length only; what they mean is
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
#include "core/container.h"
#include "core/palette_blob.h"
#include "core/palette_decode.h"
#include "core/palette_encode.h"
#include "core/parallel.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace wl {

void bind_palette(nb::module_& module);

namespace {

PaletteView parse(const Array<const uint8_t>& blob) {
  PaletteView view;
  throw_if_error(parse_palette(blob.data(), blob.size(), &view));
  return view;
}

nb::bytes encode(Array<const uint16_t> codes, Array<const float> codebook, int codebook_type,
                 std::vector<uint64_t> row_lengths, uint32_t threads) {
  PaletteSpec spec;
  spec.num_weights = codes.size();
  spec.codes = codes.data();
  spec.codebook = codebook.data();
  spec.num_clusters = static_cast<uint32_t>(std::min<size_t>(codebook.size(), kMaxClusters + 1));
  spec.codebook_type = static_cast<CodebookType>(codebook_type);
  spec.row_lengths = std::move(row_lengths);
  std::vector<uint8_t> bytes;
  Status status;
  {
    nb::gil_scoped_release release;
    status = encode_palette(spec, std::max(1U, threads), &bytes);
  }
  throw_if_error(status);
  return nb::bytes(bytes.data(), bytes.size());
}

void decode_elements(const PaletteView& view, const std::vector<uint8_t>& elements,
                     size_t element_bytes, uint32_t threads, uint8_t* output) {
  nb::gil_scoped_release release;
  parallel_for(view.chunks.size(), std::max(1U, threads), [&](uint32_t, uint64_t chunk) {
    decode_chunks(view, elements.data(), element_bytes, chunk, chunk + 1,
                  output + (chunk << view.chunk_bits) * element_bytes);
  });
}

// `output`: the bytes of the tensor, element type `onnx_type`.
void decode(Array<const uint8_t> blob, int onnx_type, uint32_t threads, Array<uint8_t> output) {
  const size_t element_bytes = checked_element_size(onnx_type);
  const PaletteView view = parse(blob);
  check_output(view.num_weights, element_bytes, output.size());
  decode_elements(view, to_elements(view.codebook, onnx_type), element_bytes, threads,
                  output.data());
}

void decode_codes(Array<const uint8_t> blob, uint32_t threads, Array<uint16_t> output) {
  const PaletteView view = parse(blob);
  check_output(view.num_weights, sizeof(uint16_t), output.size() * sizeof(uint16_t));
  decode_elements(view, code_elements(0, static_cast<uint32_t>(view.codebook.size())),
                  sizeof(uint16_t), threads, reinterpret_cast<uint8_t*>(output.data()));
}

// The body of a checked blob with other centroids.
nb::bytes with_codebook(Array<const uint8_t> blob, Array<const float> codebook) {
  const PaletteView view = parse(blob);
  const uint32_t num_clusters = static_cast<uint32_t>(view.codebook.size());
  if (codebook.size() != num_clusters) {
    throw InvalidArgumentError("it must have " + std::to_string(num_clusters) + " centroids, got " +
                               std::to_string(codebook.size()));
  }
  throw_if_error(check_centroids(codebook.data(), num_clusters, view.codebook_type));
  const size_t first = kContainerHeaderBytes + kPaletteHeaderBytes;
  const uint8_t* rest = blob.data() + first + view.codebook_bytes;
  std::vector<uint8_t> body(blob.data(), blob.data() + first);
  append_palette_codebook(codebook.data(), num_clusters, view.codebook_type, kContainerHeaderBytes,
                          &body);
  body.insert(body.end(), rest, blob.data() + blob.size() - kContainerChecksumBytes);
  return nb::bytes(body.data(), body.size());
}

nb::dict describe(Array<const uint8_t> blob) {
  const PaletteView view = parse(blob);
  nb::dict fields;
  fields["codebook_type"] = static_cast<int>(view.codebook_type);
  fields["num_weights"] = view.num_weights;
  fields["num_chunks"] = view.chunks.size();
  fields["num_lanes"] = view.num_lanes;
  fields["probability_bits"] = view.probability_bits;
  fields["row_length"] = view.model.row_length;
  fields["num_row_classes"] = view.model.num_row_classes;
  fields["num_column_classes"] = view.model.num_column_classes;
  fields["model_bytes"] = view.side_bytes;
  fields["codebook"] = view.codebook;
  return fields;
}

}  // namespace

void bind_palette(nb::module_& module) {
  module.def("palette_encode", &encode, "codes"_a.noconvert(), "codebook"_a.noconvert(),
             "codebook_type"_a, "row_lengths"_a, "threads"_a, "The blob without its checksum.");
  module.def("palette_decode", &decode, "blob"_a, "onnx_type"_a, "threads"_a,
             "output"_a.noconvert(), "Writes the tensor's bytes into `output`.");
  module.def("palette_decode_codes", &decode_codes, "blob"_a, "threads"_a, "output"_a.noconvert(),
             "Writes the centroid of each weight into `output`.");
  module.def("palette_with_codebook", &with_codebook, "blob"_a, "codebook"_a.noconvert(),
             "The blob with other centroids, without its checksum.");
  module.def("palette_describe", &describe, "blob"_a, "What a blob says of itself.");
}

}  // namespace wl
