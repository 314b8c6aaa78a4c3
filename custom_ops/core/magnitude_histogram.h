// Weights counted by magnitude: what pruning and clustering need to know of a large tensor.
#ifndef WL_CORE_MAGNITUDE_HISTOGRAM_H_
#define WL_CORE_MAGNITUDE_HISTOGRAM_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/status.h"

namespace wl {

// The weights of one sign in one bin. Index 0 holds the negative weights, 1 the positive ones.
struct MagnitudeBin {
  uint64_t counts[2] = {0, 0};
  double means[2] = {0, 0};  // mean magnitude, 0 where there is no weight
};

struct MagnitudeHistogram {
  uint64_t num_zeros = 0;
  std::vector<MagnitudeBin> bins;  // ascending in magnitude, none empty
  bool exact = false;              // every bin holds one magnitude
};

// Counts weights in one bin for each magnitude where there are at most max_bins, else in about
// max_bins bins, at most 32640 more. Their widths follow the cube root of the density, so that each
// matters as much to a clustering as any other, and no bin is wider than 1/128 of its magnitude.
// The same for any num_threads.
//   values: [num_values], fewer than 2^32; max_bins: 1 to 2^20.
// Errors: kInvalidArgument where a value is not finite; kOutOfMemory.
Status build_histogram(const float* values, uint64_t num_values, uint32_t max_bins,
                       uint32_t num_threads, MagnitudeHistogram* histogram);

// The index of the first value that is NaN or infinite, or num_values.
uint64_t find_non_finite(const float* values, uint64_t num_values, uint32_t num_threads);

constexpr size_t kNumUpperKeys = size_t{1} << 15;
constexpr size_t kNumLowerKeys = size_t{1} << 16;

// Adds the values to counts[magnitude's upper 15 bits], of kNumUpperKeys; or, where upper_key is
// not negative, those that have these upper bits to counts[lower 16 bits], of kNumLowerKeys.
// Errors: kOutOfMemory.
Status count_magnitudes(const float* values, uint64_t num_values, int32_t upper_key,
                        uint32_t num_threads, uint64_t* counts);

// Copies values with 0 for those of a magnitude below `threshold`, and for the first num_ties of
// those at it. `pruned` may be `values`.
void prune_values(const float* values, uint64_t num_values, float threshold, uint64_t num_ties,
                  float* pruned);

}  // namespace wl

#endif  // WL_CORE_MAGNITUDE_HISTOGRAM_H_
