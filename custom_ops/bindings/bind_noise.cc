// Noisy cells: Philox words, normals, programming, reads, and a device's mean response.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "bindings/bind_status.h"
#include "core/cell_noise.h"
#include "core/device_model.h"
#include "core/parallel.h"
#include "core/philox.h"
#include "core/status.h"

namespace nb = nanobind;

namespace wl {

void bind_noise(nb::module_& module);

namespace {

template <typename T>
using Array = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Words = nb::ndarray<uint32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

constexpr uint64_t kTaskCells = 1 << 16;
constexpr double kLongestTime = 1e12;

// run(offset, size) for pieces of `count` cells that end between groups.
template <typename Run>
void run_pieces(uint64_t first, uint64_t count, uint32_t threads, const Run& run) {
  if (count > UINT64_MAX - first || first + count > UINT64_MAX - 63) {
    throw nb::value_error("the last cell must be below 2^64 - 64");
  }
  const uint64_t skip = first % kTaskCells;
  nb::gil_scoped_release release;
  const uint64_t num_tasks = (skip + count + kTaskCells - 1) / kTaskCells;
  parallel_for(num_tasks, threads, [&](uint32_t, uint64_t task) {
    const uint64_t begin = task == 0 ? 0 : task * kTaskCells - skip;
    const uint64_t end = std::min(count, (task + 1) * kTaskCells - skip);
    run(begin, end - begin);
  });
}

DeviceModel parse_device(nb::bytes record) {
  const uint8_t* data = static_cast<const uint8_t*>(record.data());
  DeviceModel device;
  size_t used_bytes = 0;
  throw_if_error(DeviceModel::parse(data, record.size(), &device, &used_bytes));
  if (used_bytes != record.size()) {
    throw_if_error(make_status(StatusCode::kDamaged,
                               "the device record must end at byte %zu, got %zu bytes", used_bytes,
                               record.size()));
  }
  return device;
}

void check_time(double time_s) {
  if (!(time_s >= 0 && time_s <= kLongestTime)) {
    throw_if_error(make_status(StatusCode::kInvalidArgument,
                               "the time must be from 0 to 1e12 s, got %.9g", time_s));
  }
}

void fill_words(uint64_t seed, uint32_t stream, uint32_t tensor, uint64_t first, Words words) {
  if (words.shape(1) != 4) throw nb::value_error("there must be four words a block");
  const uint32_t key[2] = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  for (size_t i = 0; i < words.shape(0); ++i) {
    const uint64_t block = first + i;
    const uint32_t counter[4] = {static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
                                 stream, tensor};
    philox4x32(counter, key, words.data() + 4 * i);
  }
}

void fill_normals(uint64_t seed, uint32_t stream, uint32_t tensor, uint64_t first, uint32_t threads,
                  Array<float> normals) {
  run_pieces(first, normals.size(), threads, [&](uint64_t offset, uint64_t size) {
    draw_normals(seed, stream, tensor, first + offset, size, normals.data() + offset);
  });
}

void program(nb::bytes record, int write_bits, uint64_t write_seed, uint32_t tensor, double time_s,
             Array<const uint16_t> levels, uint64_t first, uint32_t threads,
             Array<float> conductances, Array<float> deviations) {
  if (conductances.size() != levels.size() || deviations.size() != levels.size()) {
    throw nb::value_error("levels, conductances and deviations must have the same size");
  }
  if (write_bits < 1 || write_bits > 16) throw nb::value_error("write bits must be 1 to 16");
  check_time(time_s);
  const uint16_t* begin = levels.data();
  const uint16_t* largest = std::max_element(begin, begin + levels.size());
  if (levels.size() != 0 && *largest >> write_bits != 0) {
    throw_if_error(make_status(StatusCode::kInvalidArgument,
                               "a level must be below %u, got %u at cell %zu", 1U << write_bits,
                               unsigned{*largest}, static_cast<size_t>(largest - begin)));
  }
  const DeviceModel device = parse_device(record);
  const LevelTable table = device.tabulate(write_bits);
  run_pieces(first, levels.size(), threads, [&](uint64_t offset, uint64_t size) {
    program_cells(device, table, {write_seed, tensor}, time_s, levels.data() + offset,
                  first + offset, size, conductances.data() + offset, deviations.data() + offset);
  });
}

void read(uint64_t read_seed, uint32_t stream, uint32_t tensor, Array<const float> conductances,
          Array<const float> deviations, uint64_t first, uint32_t threads, Array<float> reads) {
  if (conductances.size() != reads.size() || deviations.size() != reads.size()) {
    throw nb::value_error("conductances, deviations and reads must have the same size");
  }
  run_pieces(first, reads.size(), threads, [&](uint64_t offset, uint64_t size) {
    read_cells(read_seed, stream, tensor, conductances.data() + offset, deviations.data() + offset,
               first + offset, size, reads.data() + offset);
  });
}

void fill_mean_response(nb::bytes record, double time_s, Array<const double> targets,
                        Array<double> means) {
  if (targets.size() != means.size()) throw nb::value_error("the sizes must be the same");
  check_time(time_s);
  const DeviceModel device = parse_device(record);
  const double log_time = device.log_time(time_s);
  for (size_t i = 0; i < targets.size(); ++i) {
    const double x = targets.data()[i];
    if (!(x >= 0 && x <= 1)) {
      throw_if_error(
          make_status(StatusCode::kInvalidArgument, "a target must be from 0 to 1, got %.9g", x));
    }
    means.data()[i] = device.mean_response(x, log_time);
  }
}

}  // namespace

void bind_noise(nb::module_& module) {
  module.def("philox_words", &fill_words, nb::arg("seed"), nb::arg("stream"), nb::arg("tensor"),
             nb::arg("first"), nb::arg("words").noconvert());
  module.def("draw_normals", &fill_normals, nb::arg("seed"), nb::arg("stream"), nb::arg("tensor"),
             nb::arg("first"), nb::arg("threads"), nb::arg("normals").noconvert());
  module.def("program_cells", &program, nb::arg("record"), nb::arg("write_bits"),
             nb::arg("write_seed"), nb::arg("tensor"), nb::arg("time_s"),
             nb::arg("levels").noconvert(), nb::arg("first"), nb::arg("threads"),
             nb::arg("conductances").noconvert(), nb::arg("deviations").noconvert());
  module.def("read_cells", &read, nb::arg("read_seed"), nb::arg("stream"), nb::arg("tensor"),
             nb::arg("conductances").noconvert(), nb::arg("deviations").noconvert(),
             nb::arg("first"), nb::arg("threads"), nb::arg("reads").noconvert());
  module.def("mean_response", &fill_mean_response, nb::arg("record"), nb::arg("time_s"),
             nb::arg("targets").noconvert(), nb::arg("means").noconvert());
}

}  // namespace wl
