// Blobs of analog cells on every CPU target: reads are the same, and damaged blobs. Each buffer is
// exactly as long as it must be, so that the sanitizer sees any access beside it.
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "check.h"
#include "core/analog_blob.h"
#include "core/analog_layout.h"
#include "core/analog_read.h"
#include "core/analog_state.h"
#include "core/container.h"
#include "core/element.h"
#include "core/kernels/targets.h"
#include "core/palette_encode.h"
#include "core/parallel.h"
#include "encodings.h"

namespace wl {
namespace {

template <typename T>
void append(T value, std::vector<uint8_t>* bytes) {
  const size_t at = bytes->size();
  bytes->resize(at + sizeof(T));
  std::memcpy(bytes->data() + at, &value, sizeof(T));
}

void append_half(float value, std::vector<uint8_t>* bytes) {
  append(half_from_float(value), bytes);
}

const float kPcm[19] = {25,    0.26348F, 1.965F,   -1.1731F, -0.0155F, 0.0244F, 0.049F,
                        0.1F,  -0.0125F, -0.0059F, 0.008F,   0.045F,   20,      0.0088F,
                        0.65F, 1e-3F,    0.2F,     250e-9F,  0};

// Three symbols, of none, `cells` and one cell, with lines where there are more than one.
std::vector<uint8_t> make_blob(uint32_t num_weights, bool is_pair, uint8_t cells) {
  std::vector<uint16_t> codes(num_weights);
  uint64_t num_stored = 0;
  for (uint32_t i = 0; i < num_weights; ++i) {
    codes[i] = static_cast<uint16_t>(i * i % 7 % 3);
    num_stored += codes[i] > 0 ? 1 : 0;
  }
  const float codebook[3] = {0, 1, 2};
  PaletteSpec spec;
  spec.num_weights = num_weights;
  spec.codes = codes.data();
  spec.codebook = codebook;
  spec.num_clusters = 3;
  spec.codebook_type = CodebookType::kFloat32;
  std::vector<uint8_t> labels;
  CHECK(encode_palette(spec, 1, &labels).ok());
  labels.resize(labels.size() + kContainerChecksumBytes);
  reseal(&labels);

  std::vector<uint8_t> blob(kContainerHeaderBytes);
  begin_container(Codec::kAnalog, num_weights, blob.data());
  for (const int byte : {5, 3, is_pair ? 7 : 6, 0}) append(static_cast<uint8_t>(byte), &blob);
  append(uint32_t{3}, &blob);
  append(uint64_t{1} << 63, &blob);
  append(3600.0F, &blob);
  append(0.5F, &blob);
  append(static_cast<uint32_t>(1 + sizeof(kPcm)), &blob);
  append(uint8_t{1}, &blob);
  for (const float number : kPcm) append(number, &blob);
  append(0.5F, &blob);
  append(uint32_t{2}, &blob);
  append(uint32_t{20}, &blob);
  for (const float scale : {1.0F, 0.25F}) append_half(scale, &blob);
  const float intervals[3][3] = {{0, 0, 0}, {0, 1, 1.5F}, {-0.25F, -1, 0}};
  for (int symbol = 0; symbol < 3; ++symbol) {
    for (const float number : intervals[symbol]) append_half(number, &blob);
    append(static_cast<uint8_t>(symbol == 0 ? 0 : symbol == 1 ? cells : 1), &blob);
  }
  append(static_cast<uint8_t>(cells > 1 ? 1 : 0), &blob);
  for (int lines = 0; cells > 1 && lines < 2; ++lines) {
    append(uint32_t{3}, &blob);
    append(lines == 0 ? uint32_t{20} : uint32_t{1}, &blob);
    append(uint8_t{0xa8}, &blob);
    append(uint8_t{0x07}, &blob);
  }
  append(static_cast<uint32_t>(labels.size()), &blob);
  blob.insert(blob.end(), labels.begin(), labels.end());
  append(num_stored, &blob);
  for (uint64_t i = 0; i < num_stored * (is_pair ? 2 : 1); ++i) {
    append(static_cast<uint8_t>(i * 37 % 101 % 32), &blob);
  }
  blob.resize(blob.size() + kContainerChecksumBytes);
  reseal(&blob);
  return blob;
}

TaskRunner on_threads(uint32_t threads) {
  return [threads](uint64_t num_tasks, const std::function<void(uint64_t)>& task) {
    parallel_for(num_tasks, threads, [&](uint32_t, uint64_t i) { task(i); });
  };
}

// One read, or the targets where `is_read` is false; what is wrong with the blob.
Status take(const std::vector<uint8_t>& blob, uint32_t threads, ElementType type, bool is_read,
            std::vector<uint8_t>* weights) {
  AnalogView view;
  AnalogLayout layout;
  AnalogState state;
  const TaskRunner run = on_threads(threads);
  Status status = parse_analog(blob.data(), blob.size(), &view);
  if (status.ok() && view.num_weights > 1U << 20) return Status{};
  if (status.ok()) status = AnalogLayout::build(view, run, &layout);
  if (status.ok()) status = AnalogState::program(view, layout, 5, view.time_s, run, &state);
  if (!status.ok()) return status;
  std::vector<uint8_t> output(view.num_weights * element_size(static_cast<int32_t>(type)));
  run(num_analog_tasks(layout), [&](uint64_t task) {
    if (is_read) {
      read_analog_task(view, layout, state, 9, type, task, output.data());
    } else {
      decode_analog_task(view, layout, type, task, output.data());
    }
  });
  *weights = std::move(output);
  return Status{};
}

void test_reads_are_the_same_everywhere() {
  for (const uint32_t num_weights : {1U, 63U, 2048U, 2049U, 70001U}) {
    for (const int cells : {1, 3}) {
      for (const bool is_pair : {false, true}) {
        const std::vector<uint8_t> blob =
            make_blob(num_weights, is_pair, static_cast<uint8_t>(cells));
        for (const ElementType type : {ElementType::kFloat32, ElementType::kFloat16}) {
          std::vector<uint8_t> first;
          for (const char* name : available_targets()) {
            CHECK(set_target(name));
            for (const uint32_t threads : {1U, 3U}) {
              std::vector<uint8_t> weights;
              CHECK(take(blob, threads, type, true, &weights).ok());
              if (first.empty()) first = weights;
              CHECK(first == weights);
            }
          }
          std::vector<uint8_t> targets;
          CHECK(take(blob, 2, type, false, &targets).ok());
          CHECK(targets.size() == first.size());
          CHECK(num_weights < 63 || targets != first);
        }
      }
    }
  }
}

void test_reads_are_near_the_targets() {
  const std::vector<uint8_t> blob = make_blob(70001, false, 1);
  std::vector<uint8_t> read, target;
  CHECK(take(blob, 2, ElementType::kFloat32, true, &read).ok());
  CHECK(take(blob, 2, ElementType::kFloat32, false, &target).ok());
  double sum = 0;
  for (size_t i = 0; i < 70001; ++i) {
    float a, b;
    std::memcpy(&a, read.data() + 4 * i, 4);
    std::memcpy(&b, target.data() + 4 * i, 4);
    CHECK(i * i % 7 % 3 != 0 || (a == 0 && b == 0 && !std::signbit(a)));
    sum += double{a - b} * double{a - b};
  }
  CHECK(std::sqrt(sum / 70001) < 0.05);  // of a range of 0.5
}

void test_damage_is_found_or_bounded() {
  for (const int cells : {1, 3}) {
    const std::vector<uint8_t> blob = make_blob(60, cells == 3, static_cast<uint8_t>(cells));
    std::vector<uint8_t> weights;
    for (size_t size = 0; size < blob.size(); ++size) {
      std::vector<uint8_t> prefix(blob.begin(), blob.begin() + static_cast<std::ptrdiff_t>(size));
      prefix.shrink_to_fit();
      CHECK(take(prefix, 1, ElementType::kFloat32, true, &weights).code == StatusCode::kDamaged);
    }
    int accepted = 0;
    for (const char* name : available_targets()) {
      CHECK(set_target(name));
      for (size_t place = 0; place + kContainerChecksumBytes < blob.size(); ++place) {
        for (const int change : {0x01, 0x10, 0x80, 0xff}) {
          std::vector<uint8_t> changed = blob;
          changed[place] = static_cast<uint8_t>(changed[place] ^ change);
          reseal(&changed);
          accepted += take(changed, 1, ElementType::kFloat32, true, &weights).ok() ? 1 : 0;
        }
      }
    }
    CHECK(accepted > 100);
  }
}

}  // namespace
}  // namespace wl

int main() {
  wl::test_reads_are_the_same_everywhere();
  wl::test_reads_are_near_the_targets();
  wl::test_damage_is_found_or_bounded();
  return 0;
}
