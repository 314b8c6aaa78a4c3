// Analog cells for Python.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <vector>

#include "bindings/bind_decode.h"
#include "bindings/bind_status.h"
#include "core/analog_blob.h"
#include "core/analog_layout.h"
#include "core/analog_read.h"
#include "core/analog_response.h"
#include "core/analog_state.h"
#include "core/element.h"
#include "core/entropy.h"
#include "core/parallel.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace wl {

void bind_analog(nb::module_& module);

namespace {

struct Cells {
  AnalogView view;
  AnalogLayout layout;
};

TaskRunner on_threads(uint32_t threads) {
  return [threads](uint64_t num_tasks, const std::function<void(uint64_t)>& task) {
    parallel_for(num_tasks, std::max(1U, threads), [&](uint32_t, uint64_t i) { task(i); });
  };
}

// What a blob holds, or the first thing that is wrong with it.
Cells parse(const Array<const uint8_t>& blob, const TaskRunner& run) {
  Cells cells;
  throw_if_error(parse_analog(blob.data(), blob.size(), &cells.view));
  throw_if_error(AnalogLayout::build(cells.view, run, &cells.layout));
  ResponseTables response;
  throw_if_error(build_response(cells.view, DriftEstimate{}, &response));
  return cells;
}

std::vector<uint64_t> count_symbols(const Cells& cells) {
  std::vector<uint64_t> counts(cells.view.symbols.size());
  const uint8_t* labels = cells.layout.labels();
  if (labels == nullptr) {
    counts[0] = cells.view.num_weights;
  } else {
    for (uint64_t i = 0; i < cells.view.num_weights; ++i) ++counts[labels[i]];
  }
  return counts;
}

// Bits beside the cells that must not be noisy.
uint64_t count_digital_bits(const AnalogView& view) {
  constexpr uint64_t kScaleBits = 32;
  constexpr uint64_t kReferenceBits = 32;
  constexpr uint64_t kSymbolBits = 3 * 16 + 8;
  const uint64_t reference = view.compensates_drift ? kReferenceBits : 0;
  const uint64_t lines =
      view.has_lines ? uint64_t{4} * view.rows.count + 4 * view.columns.count : 0;
  return kScaleBits + reference + 16 * view.channel_scales.size() +
         kSymbolBits * view.symbols.size() + lines + uint64_t{8} * view.label_bytes;
}

nb::dict describe(Array<const uint8_t> blob) {
  const Cells cells = parse(blob, on_threads(1));
  const AnalogView& view = cells.view;
  nb::dict fields;
  fields["num_weights"] = view.num_weights;
  fields["num_stored"] = view.num_stored;
  fields["num_cells"] = cells.layout.num_sign_cells() * (view.is_pair ? 2 : 1);
  fields["digital_bits"] = count_digital_bits(view);
  fields["label_bits"] = uint64_t{8} * view.label_bytes;
  fields["num_symbols"] = view.symbols.size();
  fields["num_channels"] = view.channel_scales.size();
  fields["write_bits"] = view.write_bits;
  fields["is_pair"] = view.is_pair;
  fields["inverts_response"] = view.inverts_response;
  fields["compensates_drift"] = view.compensates_drift;
  fields["tensor"] = view.tensor;
  fields["write_seed"] = view.write_seed;
  fields["time_s"] = view.time_s;
  fields["g_max"] = view.device.g_max();
  fields["has_drift"] = view.device.has_drift();
  fields["symbol_counts"] = count_symbols(cells);
  return fields;
}

nb::object read_lines(const AnalogView& view, const LineExponents& lines) {
  if (!view.has_lines) return nb::none();
  std::vector<uint8_t> exponents;
  for (uint32_t line = 0; line < lines.count; ++line) {
    exponents.push_back(static_cast<uint8_t>(lines.of_line(line)));
  }
  return nb::make_tuple(nb::bytes(exponents.data(), exponents.size()), lines.inner);
}

// The fields of a CellTensor; arrays as bytes.
nb::dict parse_fields(Array<const uint8_t> blob) {
  const Cells cells = parse(blob, on_threads(1));
  const AnalogView& view = cells.view;
  std::vector<uint16_t> channel_scales;
  for (const float scale : view.channel_scales) channel_scales.push_back(half_from_float(scale));
  nb::list symbols;
  for (const AnalogSymbol& symbol : view.symbols) {
    symbols.append(nb::make_tuple(symbol.low, symbol.high, symbol.curve, symbol.cells));
  }
  const uint8_t* labels = cells.layout.labels();
  nb::dict fields;
  fields["num_weights"] = view.num_weights;
  fields["symbols"] = symbols;
  fields["labels"] = nb::bytes(labels, labels == nullptr ? 0 : view.num_weights);
  fields["levels"] = nb::bytes(view.levels, view.num_levels() * view.level_bytes());
  fields["device_record"] = nb::bytes(view.device_record, view.device_bytes);
  fields["write_bits"] = view.write_bits;
  fields["is_pair"] = view.is_pair;
  fields["inverts_response"] = view.inverts_response;
  fields["compensates_drift"] = view.compensates_drift;
  fields["tensor"] = view.tensor;
  fields["write_seed"] = view.write_seed;
  fields["time_s"] = view.time_s;
  fields["reference_level"] = view.reference_level;
  fields["scale"] = view.scale;
  fields["channel_scales"] = nb::bytes(channel_scales.data(), 2 * channel_scales.size());
  fields["channel_inner"] = std::max(1U, view.channel_inner);
  fields["row_exponents"] = read_lines(view, view.rows);
  fields["column_exponents"] = read_lines(view, view.columns);
  return fields;
}

// `output`: the bytes of the tensor, element type `onnx_type`.
void decode(Array<const uint8_t> blob, int onnx_type, uint32_t threads, Array<uint8_t> output) {
  const size_t element_bytes = checked_element_size(onnx_type);
  const TaskRunner run = on_threads(threads);
  const Cells cells = parse(blob, run);
  check_output(cells.view.num_weights, element_bytes, output.size());
  nb::gil_scoped_release release;
  run(num_analog_tasks(cells.layout), [&](uint64_t task) {
    decode_analog_task(cells.view, cells.layout, static_cast<ElementType>(onnx_type), task,
                       output.data());
  });
}

// A negative read_seed stands for other noise at each call.
void read(Array<const uint8_t> blob, uint64_t write_seed, int64_t read_seed, float time_s,
          int onnx_type, uint32_t threads, Array<uint8_t> output) {
  const size_t element_bytes = checked_element_size(onnx_type);
  const TaskRunner run = on_threads(threads);
  const Cells cells = parse(blob, run);
  check_output(cells.view.num_weights, element_bytes, output.size());
  if (!(time_s >= 0 && time_s <= kMaxTimeS)) {
    throw InvalidArgumentError("the time must be from 0 to 1e12 s, got " + std::to_string(time_s));
  }
  const uint64_t seed = read_seed < 0 ? fresh_seed() : static_cast<uint64_t>(read_seed);
  Status status;
  {
    nb::gil_scoped_release release;
    AnalogState state;
    status = AnalogState::program(cells.view, cells.layout, write_seed, time_s, run, &state);
    if (status.ok()) {
      run(num_analog_tasks(cells.layout), [&](uint64_t task) {
        read_analog_task(cells.view, cells.layout, state, seed, static_cast<ElementType>(onnx_type),
                         task, output.data());
      });
    }
  }
  throw_if_error(status);
}

}  // namespace

void bind_analog(nb::module_& module) {
  module.def("analog_describe", &describe, "blob"_a, "What a blob says of itself.");
  module.def("analog_parse", &parse_fields, "blob"_a, "The fields of a blob.");
  module.def("analog_decode", &decode, "blob"_a, "onnx_type"_a, "threads"_a, "output"_a.noconvert(),
             "Writes what the cells were meant to hold into `output`.");
  module.def("analog_read", &read, "blob"_a, "write_seed"_a, "read_seed"_a, "time_s"_a,
             "onnx_type"_a, "threads"_a, "output"_a.noconvert(),
             "Writes one noisy read into `output`.");
}

}  // namespace wl
