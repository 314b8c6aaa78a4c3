// Philox against published vectors; draws, programming and reads of every target against each other
// and against double precision; records of devices, whole and damaged.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "check.h"
#include "core/cell_noise.h"
#include "core/device_model.h"
#include "core/kernels/targets.h"
#include "core/murmur3.h"
#include "core/philox.h"

namespace wl {
namespace {

constexpr float kNandakumar[19] = {25,    0.26348F, 1.965F,   -1.1731F, -0.0155F, 0.0244F, 0.049F,
                                   0.1F,  -0.0125F, -0.0059F, 0.008F,   0.045F,   20,      0.0088F,
                                   0.65F, 1e-3F,    0.2F,     250e-9F,  0};

std::vector<uint8_t> pcm_record(const float* values) {
  std::vector<uint8_t> record(1 + 19 * sizeof(float));
  record[0] = 1;
  std::memcpy(record.data() + 1, values, 19 * sizeof(float));
  return record;
}

// Three levels: rows of levels, means, deviations, read deviations.
std::vector<uint8_t> table_record(const float* values) {
  const uint32_t num_levels = 3;
  std::vector<uint8_t> record(5 + 12 * sizeof(float));
  record[0] = 2;
  std::memcpy(record.data() + 1, &num_levels, sizeof(num_levels));
  std::memcpy(record.data() + 5, values, 12 * sizeof(float));
  return record;
}

constexpr float kTable[12] = {0, 0.5F, 1, 1, 8, 12, 0.5F, 1, 0, 0.1F, 0.2F, 0.3F};

DeviceModel parse(const std::vector<uint8_t>& record) {
  DeviceModel device;
  size_t used_bytes = 0;
  CHECK(DeviceModel::parse(record.data(), record.size(), &device, &used_bytes).ok());
  CHECK(used_bytes == record.size());
  return device;
}

// kat_vectors of Random123, philox4x32 with 10 rounds.
void check_published_words() {
  struct {
    uint32_t counter[4], key[2], expected[4];
  } const vectors[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5U, 0xe169c58dU, 0xbc57ac4cU, 0x9b00dbd8U}},
      {{0xffffffffU, 0xffffffffU, 0xffffffffU, 0xffffffffU},
       {0xffffffffU, 0xffffffffU},
       {0x408f276dU, 0x41c83b0eU, 0xa20bc7c6U, 0x6d5451fdU}},
      {{0x243f6a88U, 0x85a308d3U, 0x13198a2eU, 0x03707344U},
       {0xa4093822U, 0x299f31d0U},
       {0xd16cfe09U, 0x94fdccebU, 0x5001e420U, 0x24126ea1U}},
  };
  for (const auto& vector : vectors) {
    uint32_t words[4];
    philox4x32(vector.counter, vector.key, words);
    CHECK(std::memcmp(words, vector.expected, sizeof(words)) == 0);
  }
}

// A cell's draw as FORMAT.md has it, in double precision behind the float32 uniform.
double exact_normal(uint64_t seed, uint32_t stream, uint32_t tensor, uint64_t cell) {
  const uint64_t block = cell / 64 * 16 + cell % 16;
  const uint32_t counter[4] = {static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
                               stream, tensor};
  const uint32_t key[2] = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  uint32_t words[4];
  philox4x32(counter, key, words);
  const uint64_t part = cell / 16 % 4;
  const float whole = static_cast<float>(words[part / 2 * 2] >> 1);
  const double uniform = std::ldexp(double{whole + 0.5F}, -31);
  const double angle =
      std::ldexp(static_cast<double>(words[part / 2 * 2 + 1]), -32) * 2 * std::acos(-1.0);
  return std::sqrt(-2 * std::log(uniform)) * (part % 2 == 0 ? std::cos(angle) : std::sin(angle));
}

void check_normals() {
  constexpr uint64_t kCount = 1000;
  for (const uint64_t first : {uint64_t{0}, uint64_t{37}, (uint64_t{1} << 34) - 500}) {
    std::vector<float> normals(kCount);
    draw_normals(0x123456789abcdefU, 2, 77, first, kCount, normals.data());
    for (uint64_t i = 0; i < kCount; ++i) {
      const double expected = exact_normal(0x123456789abcdefU, 2, 77, first + i);
      // The angle here is that of the whole circle: near its zeros the error is absolute.
      CHECK(std::fabs(double{normals[i]} - expected) < 4e-7 * std::fabs(expected) + 1e-14);
    }
  }
}

struct Cells {
  std::vector<float> conductances, deviations, reads;
};

Cells run(const std::vector<uint8_t>& record, double time_s, uint64_t first, uint64_t count) {
  const DeviceModel device = parse(record);
  const LevelTable table = device.tabulate(4);
  std::vector<uint16_t> levels(count);
  for (uint64_t i = 0; i < count; ++i) levels[i] = static_cast<uint16_t>(i * i % 11 + i % 6);
  Cells cells{std::vector<float>(count), std::vector<float>(count), std::vector<float>(count)};
  program_cells(device, table, {99, 5}, time_s, levels.data(), first, count,
                cells.conductances.data(), cells.deviations.data());
  read_cells(7, kReadStream, 5, cells.conductances.data(), cells.deviations.data(), first, count,
             cells.reads.data());
  return cells;
}

// The digest of what the target in use gives, which tests of other builds compare.
std::vector<uint8_t> digest_of_cells() {
  std::vector<float> all;
  for (const auto& record : {pcm_record(kNandakumar), table_record(kTable)}) {
    const Cells cells = run(record, 86400, 13, 5000);
    for (const auto* values : {&cells.conductances, &cells.deviations, &cells.reads}) {
      all.insert(all.end(), values->begin(), values->end());
    }
  }
  std::vector<uint8_t> digest(16);
  murmur3_128(reinterpret_cast<const uint8_t*>(all.data()), all.size() * sizeof(float),
              digest.data());
  return digest;
}

// Every first and count, cells on the heap so that a sanitizer sees what lies beside them.
void check_parts() {
  const std::vector<uint8_t> record = pcm_record(kNandakumar);
  std::vector<float> whole(256);
  draw_normals(3, 1, 0, 64, 256, whole.data());
  for (uint64_t skip = 0; skip < 66; skip += 5) {
    for (const uint64_t count : {0U, 1U, 15U, 64U, 65U, 130U}) {
      std::vector<float> some(count);
      draw_normals(3, 1, 0, 64 + skip, count, some.data());
      CHECK(std::equal(some.begin(), some.end(), whole.data() + skip));
      run(record, 10, skip, count);
    }
  }
}

// Values at the limits of what a record may hold: no NaN, no infinity, nothing below 0.
void check_extremes() {
  const float large = 1e12F, small = 1e-12F;
  const float devices[][19] = {
      {large, large, large, large, large, large, large, large, large, large, large, large, small,
       large, large, 0, large, small, large},
      {small, -large, -large, -large, -large, -large, -large, large, -large, -large, 0, large,
       small, large, -large, 0, large, small, large},
      {small, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, large, 1, 1, 0, 0, large, 0},
      {large, large, 0, 0, 0, 0, small, large, 0, 0, small, large, small, large, small, 0, large,
       small, 0},
  };
  for (const auto& values : devices) {
    const DeviceModel device = parse(pcm_record(values));
    for (const double time_s : {0.0, 1.0, 1e12}) {
      for (const double x : {0.0, 1e-9, 0.5, 1.0}) {
        const double mean = device.mean_response(x, device.log_time(time_s));
        CHECK(std::isfinite(mean) && mean >= 0);
      }
      const Cells cells = run(pcm_record(values), time_s, 5, 500);
      for (const auto* found : {&cells.conductances, &cells.deviations, &cells.reads}) {
        for (const float value : *found) CHECK(std::isfinite(value) && value >= 0);
      }
    }
  }
}

void expect_damaged(const std::vector<uint8_t>& record) {
  DeviceModel device;
  size_t used_bytes = 12345;
  const Status status = DeviceModel::parse(record.data(), record.size(), &device, &used_bytes);
  CHECK(status.code == StatusCode::kDamaged);
  CHECK(std::strstr(status.message, "must") && std::strstr(status.message, "got"));
  CHECK(used_bytes == 12345 && device.g_max() == 0);
}

void check_damaged_records() {
  for (const auto& record : {pcm_record(kNandakumar), table_record(kTable)}) {
    for (size_t size = 0; size < record.size(); ++size) {
      expect_damaged({record.begin(), record.begin() + static_cast<std::ptrdiff_t>(size)});
    }
    // No number in a record may be NaN or infinite.
    for (size_t at = record[0] == 1 ? 1 : 5; at < record.size(); at += sizeof(float)) {
      for (const float value : {std::numeric_limits<float>::quiet_NaN(),
                                std::numeric_limits<float>::infinity(), -HUGE_VALF}) {
        std::vector<uint8_t> changed = record;
        std::memcpy(changed.data() + at, &value, sizeof(value));
        expect_damaged(changed);
      }
    }
  }
}

void check_table() {
  const DeviceModel device = parse(table_record(kTable));
  CHECK(device.g_max() == 12 && !device.has_drift());
  CHECK(device.log_time(1e6) == 0 && device.read_time_factor(1e6) == 0);
  const LevelTable table = device.tabulate(2);  // x: 0, 1/3, 2/3, 1
  const float means[4] = {1, static_cast<float>(17.0 / 3), static_cast<float>(28.0 / 3), 12};
  for (size_t i = 0; i < 4; ++i) CHECK(std::fabs(table.mean[i] - means[i]) < 1e-5F);
  CHECK(table.deviation[0] == 0.5F && table.deviation[3] == 0 && table.drift_mean[1] == 0);
  CHECK(table.read_deviation[3] == 0.3F);
  CHECK(device.mean_response(1, 0) == 12);
}

}  // namespace
}  // namespace wl

int main() {
  wl::check_published_words();
  std::vector<std::vector<uint8_t>> digests;
  for (const char* name : wl::available_targets()) {
    CHECK(wl::set_target(name));
    CHECK(std::strcmp(wl::current_kernel().name, name) == 0);
    wl::check_normals();
    wl::check_parts();
    wl::check_extremes();
    digests.push_back(wl::digest_of_cells());
    CHECK(digests.back() == digests[0]);
  }
  std::printf("noise: ");
  for (const uint8_t byte : digests[0]) std::printf("%02x", byte);
  std::printf("\n");
  wl::check_damaged_records();
  wl::check_table();
  return 0;
}
