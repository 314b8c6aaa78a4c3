#include "core/line_classes.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <vector>

#include "core/parallel.h"

namespace wl {
namespace {

constexpr uint64_t kProductsPerTask = uint64_t{1} << 19;  // less is not worth a thread
constexpr uint32_t kLanes = 8;  // classes whose costs are added up side by side

class Lloyd {
 public:
  // Throws where memory runs out.
  Lloyd(const double* counts, uint64_t num_lines, uint64_t num_contexts, uint64_t num_symbols,
        uint32_t num_classes, uint32_t num_threads)
      : counts_(counts),
        num_lines_(num_lines),
        num_symbols_(num_symbols),
        line_size_(num_contexts * num_symbols),
        num_classes_(num_classes),
        num_workers_(std::max(num_threads, 1u)),
        sums_(num_workers_ * num_classes * line_size_),
        num_lanes_((uint64_t{num_classes} + kLanes - 1) / kLanes * kLanes),
        bits_(line_size_ * num_lanes_) {}

  void run_round(int64_t* classes) {
    add_up(classes);
    measure_bits();
    for_lines([&](uint32_t, uint64_t line) { classes[line] = cheapest_class(line); });
  }

 private:
  template <typename Run>
  void for_lines(const Run& run) const {
    const uint64_t task_lines =
        std::max<uint64_t>(1, kProductsPerTask / std::max<uint64_t>(1, bits_.size()));
    parallel_for((num_lines_ + task_lines - 1) / task_lines, num_workers_,
                 [&](uint32_t worker, uint64_t task) {
                   const uint64_t end = std::min(num_lines_, (task + 1) * task_lines);
                   for (uint64_t line = task * task_lines; line < end; ++line) run(worker, line);
                 });
  }

  // Sums of whole numbers are exact: it does not matter which worker added which.
  void add_up(const int64_t* classes) {
    const uint64_t size = num_classes_ * line_size_;
    std::fill(sums_.begin(), sums_.end(), 0.0);
    for_lines([&](uint32_t worker, uint64_t line) {
      double* sums =
          sums_.data() + worker * size + static_cast<uint64_t>(classes[line]) * line_size_;
      const double* counts = counts_ + line * line_size_;
      for (uint64_t i = 0; i < line_size_; ++i) sums[i] += counts[i];
    });
    for (uint32_t worker = 1; worker < num_workers_; ++worker) {
      for (uint64_t i = 0; i < size; ++i) sums_[i] += sums_[worker * size + i];
    }
  }

  void measure_bits() {
    const double spread = 0.5 / static_cast<double>(num_symbols_);
    for (uint64_t first = 0; first < num_classes_ * line_size_; first += num_symbols_) {
      double sum = 0.5;
      for (uint64_t i = 0; i < num_symbols_; ++i) sum += sums_[first + i];
      const uint64_t label = first / line_size_;
      for (uint64_t i = 0; i < num_symbols_; ++i) {
        bits_[(first + i) % line_size_ * num_lanes_ + label] =
            -std::log2((sums_[first + i] + spread) / sum);
      }
    }
  }

  int64_t cheapest_class(uint64_t line) const {
    const double* counts = counts_ + line * line_size_;
    int64_t cheapest = 0;
    double least = HUGE_VAL;
    for (uint32_t first = 0; first < num_classes_; first += kLanes) {
      double costs[kLanes] = {0};
      for (uint64_t i = 0; i < line_size_; ++i) {
        const double* bits = bits_.data() + i * num_lanes_ + first;
        for (uint32_t lane = 0; lane < kLanes; ++lane) costs[lane] += counts[i] * bits[lane];
      }
      for (uint32_t lane = 0; lane < kLanes && first + lane < num_classes_; ++lane) {
        if (costs[lane] < least) {
          least = costs[lane];
          cheapest = first + lane;
        }
      }
    }
    return cheapest;
  }

  const double* counts_;
  uint64_t num_lines_;
  uint64_t num_symbols_;
  uint64_t line_size_;
  uint32_t num_classes_;
  uint32_t num_workers_;
  std::vector<double> sums_;  // [worker][class][context][symbol]
  uint64_t num_lanes_;        // num_classes, and as many more as fill the last lanes
  std::vector<double> bits_;  // [context][symbol][lane]
};

}  // namespace

Status classify_lines(const double* counts, uint64_t num_lines, uint64_t num_contexts,
                      uint64_t num_symbols, uint32_t num_classes, uint32_t num_rounds,
                      uint32_t num_threads, int64_t* classes) {
  for (uint64_t line = 0; line < num_lines; ++line) {
    if (classes[line] < 0 || classes[line] >= int64_t{num_classes}) {
      return make_status(StatusCode::kInvalidArgument, "classes must be below %u, got %lld",
                         num_classes, static_cast<long long>(classes[line]));
    }
  }
  try {
    Lloyd lloyd(counts, num_lines, num_contexts, num_symbols, num_classes, num_threads);
    for (uint32_t round = 0; round < num_rounds; ++round) lloyd.run_round(classes);
    return Status{};
  } catch (const std::bad_alloc&) {
    return make_status(StatusCode::kOutOfMemory, "memory ran out for %u classes", num_classes);
  }
}

}  // namespace wl
