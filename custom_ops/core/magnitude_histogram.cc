#include "core/magnitude_histogram.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <new>

#include "core/parallel.h"

namespace wl {
namespace {

constexpr uint64_t kChunk = uint64_t{1} << 18;
constexpr uint32_t kMagnitudeMask = 0x7fffffffu;
constexpr uint32_t kInfinity = 0x7f800000u;
constexpr int kLowerBits = 16;
constexpr uint32_t kLowerMask = (1u << kLowerBits) - 1;

uint32_t float_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

double magnitude_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return double{value};
}

// Calls run(worker, begin, end) for chunks of 0 .. num_values - 1.
template <typename Run>
void for_chunks(uint64_t num_values, uint32_t num_workers, const Run& run) {
  parallel_for((num_values + kChunk - 1) / kChunk, num_workers,
               [&](uint32_t worker, uint64_t chunk) {
                 run(worker, chunk * kChunk, std::min(num_values, (chunk + 1) * kChunk));
               });
}

uint32_t useful_workers(uint64_t num_values, uint32_t num_threads) {
  const uint64_t num_chunks = std::max<uint64_t>(1, (num_values + kChunk - 1) / kChunk);
  return static_cast<uint32_t>(std::min<uint64_t>(std::max(num_threads, 1u), num_chunks));
}

// Magnitudes, as float bits, with their counts by sign. Open addressing; 0 marks a free place.
class DistinctMagnitudes {
 public:
  explicit DistinctMagnitudes(uint32_t max_distinct) : max_distinct_(max_distinct) {
    size_t capacity = 16;
    while (capacity < size_t{2} * max_distinct) {
      capacity *= 2;
      --shift_;
    }
    entries_.resize(capacity);
  }

  // False where there are more than max_distinct magnitudes beside 0.
  bool add(const float* values, uint64_t num_values) {
    for (uint64_t i = 0; i < num_values; ++i) {
      const uint32_t bits = float_bits(values[i]);
      const uint32_t magnitude = bits & kMagnitudeMask;
      if (magnitude == 0) {
        ++num_zeros_;
        continue;
      }
      Entry* entry = find(magnitude);
      if (entry->magnitude == 0) {
        if (num_distinct_ == max_distinct_) return false;
        ++num_distinct_;
        entry->magnitude = magnitude;
      }
      ++entry->counts[bits >> 31 ^ 1];
    }
    return true;
  }

  // False where a magnitude is not finite.
  bool finish(MagnitudeHistogram* histogram) {
    const auto middle = std::partition(entries_.begin(), entries_.end(),
                                       [](const Entry& entry) { return entry.magnitude != 0; });
    entries_.erase(middle, entries_.end());
    std::sort(entries_.begin(), entries_.end(),
              [](const Entry& a, const Entry& b) { return a.magnitude < b.magnitude; });
    if (!entries_.empty() && entries_.back().magnitude >= kInfinity) return false;
    histogram->num_zeros = num_zeros_;
    histogram->exact = true;
    for (const Entry& entry : entries_) {
      MagnitudeBin bin;
      for (int sign = 0; sign < 2; ++sign) {
        bin.counts[sign] = entry.counts[sign];
        bin.means[sign] = entry.counts[sign] == 0 ? 0 : magnitude_of(entry.magnitude);
      }
      histogram->bins.push_back(bin);
    }
    return true;
  }

 private:
  struct Entry {
    uint32_t magnitude = 0;
    uint32_t counts[2] = {0, 0};
  };

  Entry* find(uint32_t magnitude) {
    // Multiplicative hashing: the product's upper bits are mixed best.
    size_t at = magnitude * 0x9E3779B1u >> shift_;
    while (entries_[at].magnitude != magnitude && entries_[at].magnitude != 0) {
      at = (at + 1) & (entries_.size() - 1);
    }
    return &entries_[at];
  }

  uint32_t max_distinct_;
  int shift_ = 28;  // leaves the bits of 16 places
  uint32_t num_distinct_ = 0;
  uint64_t num_zeros_ = 0;
  std::vector<Entry> entries_;
};

// How many bins each upper key gets: shares of max_bins as count^(1/3) * width^(2/3), at least one
// where there is a weight, and no more than there are weights.
std::vector<uint32_t> share_bins(const std::vector<uint64_t>& counts, uint32_t max_bins) {
  constexpr int kRounds = 8;  // what capped keys leave over goes to the others
  std::vector<double> wants(kNumUpperKeys);
  std::vector<uint32_t> splits(kNumUpperKeys);
  for (uint32_t key = 0; key < kInfinity >> kLowerBits; ++key) {
    const double width =
        magnitude_of((key + 1) << kLowerBits & kMagnitudeMask) - magnitude_of(key << kLowerBits);
    const double finite_width = std::isfinite(width) ? width : std::ldexp(1.0, 120);
    wants[key] = std::cbrt(static_cast<double>(counts[key]) * finite_width * finite_width);
  }
  double scale = 0;
  for (int round = 0; round < kRounds; ++round) {
    double room = max_bins;
    double open = 0;
    for (size_t key = 0; key < kNumUpperKeys; ++key) {
      const double cap = static_cast<double>(std::min<uint64_t>(counts[key], kNumLowerKeys));
      if (wants[key] * scale >= cap) {
        room -= cap;
      } else {
        open += wants[key];
      }
    }
    if (open <= 0 || room <= 0) break;
    scale = room / open;
  }
  for (size_t key = 0; key < kNumUpperKeys; ++key) {
    const double cap = static_cast<double>(std::min<uint64_t>(counts[key], kNumLowerKeys));
    splits[key] = static_cast<uint32_t>(std::min(cap, std::max(1.0, wants[key] * scale)));
  }
  return splits;
}

struct Cell {
  uint64_t counts[2] = {0, 0};
  uint64_t lower_sums[2] = {0,
                            0};  // of the lower bits: whole numbers, so that order does not matter
};

void add_bins(uint32_t key, const Cell* cells, uint32_t split, MagnitudeHistogram* histogram) {
  const double base = magnitude_of(key << kLowerBits);
  const double unit = (magnitude_of(key << kLowerBits | 1) - base);
  for (uint32_t i = 0; i < split; ++i) {
    if (cells[i].counts[0] + cells[i].counts[1] == 0) continue;
    MagnitudeBin bin;
    for (int sign = 0; sign < 2; ++sign) {
      bin.counts[sign] = cells[i].counts[sign];
      if (bin.counts[sign] == 0) continue;
      bin.means[sign] = base + unit * (static_cast<double>(cells[i].lower_sums[sign]) /
                                       static_cast<double>(bin.counts[sign]));
    }
    histogram->bins.push_back(bin);
  }
}

// False where a value is not finite.
bool fill_grid(const float* values, uint64_t num_values, uint32_t max_bins, uint32_t num_threads,
               MagnitudeHistogram* histogram) {
  const uint32_t num_workers = useful_workers(num_values, num_threads);
  std::vector<uint64_t> counts(kNumUpperKeys);
  if (!count_magnitudes(values, num_values, -1, num_threads, counts.data()).ok()) {
    throw std::bad_alloc();
  }
  for (size_t key = kInfinity >> kLowerBits; key < kNumUpperKeys; ++key) {
    if (counts[key] != 0) return false;
  }
  struct Place {
    uint32_t first;
    uint32_t split;
  };
  const std::vector<uint32_t> splits = share_bins(counts, max_bins);
  std::vector<Place> places(kNumUpperKeys);
  uint32_t num_cells = 0;
  for (size_t key = 0; key < kNumUpperKeys; ++key) {
    places[key] = {num_cells, splits[key]};
    num_cells += splits[key];
  }
  std::vector<std::vector<Cell>> cells(num_workers, std::vector<Cell>(num_cells));
  std::vector<uint64_t> num_zeros(num_workers);
  for_chunks(num_values, num_workers, [&](uint32_t worker, uint64_t begin, uint64_t end) {
    Cell* const mine = cells[worker].data();
    uint64_t zeros = 0;
    for (uint64_t i = begin; i < end; ++i) {
      const uint32_t bits = float_bits(values[i]);
      const uint32_t magnitude = bits & kMagnitudeMask;
      const uint32_t lower = bits & kLowerMask;
      const uint32_t sign = bits >> 31 ^ 1;
      const Place place = places[magnitude >> kLowerBits];
      Cell& cell = mine[place.first + (lower * place.split >> kLowerBits)];
      // Zeros are counted as positive ones of the least cell, and taken out of it below.
      const uint32_t zero = magnitude == 0 ? 1 : 0;
      zeros += zero;
      cell.counts[sign] += 1 - zero;
      cell.lower_sums[sign] += lower;
    }
    num_zeros[worker] += zeros;
  });
  for (uint32_t worker = 0; worker < num_workers; ++worker) {
    histogram->num_zeros += num_zeros[worker];
    for (uint32_t i = 0; worker > 0 && i < num_cells; ++i) {
      for (int sign = 0; sign < 2; ++sign) {
        cells[0][i].counts[sign] += cells[worker][i].counts[sign];
        cells[0][i].lower_sums[sign] += cells[worker][i].lower_sums[sign];
      }
    }
  }
  for (uint32_t key = 0; key < kNumUpperKeys; ++key) {
    if (splits[key] > 0) add_bins(key, &cells[0][places[key].first], splits[key], histogram);
  }
  return true;
}

}  // namespace

Status build_histogram(const float* values, uint64_t num_values, uint32_t max_bins,
                       uint32_t num_threads, MagnitudeHistogram* histogram) {
  if (num_values >> 32 != 0 || max_bins < 1 || max_bins > 1u << 20) {
    return make_status(StatusCode::kInvalidArgument,
                       "values must be fewer than 2^32 and bins from 1 to 2^20, got %llu and %u",
                       static_cast<unsigned long long>(num_values), max_bins);
  }
  try {
    *histogram = MagnitudeHistogram{};
    DistinctMagnitudes distinct(static_cast<uint32_t>(std::min<uint64_t>(max_bins, num_values)));
    const bool finite = distinct.add(values, num_values)
                            ? distinct.finish(histogram)
                            : fill_grid(values, num_values, max_bins, num_threads, histogram);
    if (finite) return Status{};
    return make_status(StatusCode::kInvalidArgument, "values must be finite, got NaN or infinity");
  } catch (const std::bad_alloc&) {
    return make_status(StatusCode::kOutOfMemory, "memory ran out for %u bins", max_bins);
  }
}

uint64_t find_non_finite(const float* values, uint64_t num_values, uint32_t num_threads) {
  std::atomic<uint64_t> first{num_values};
  for_chunks(num_values, num_threads, [&](uint32_t, uint64_t begin, uint64_t end) {
    // The largest magnitude first: a loop without an exit runs at the speed of memory.
    int32_t largest = 0;
    for (uint64_t i = begin; i < end; ++i) {
      largest = std::max(largest, static_cast<int32_t>(float_bits(values[i]) & kMagnitudeMask));
    }
    if (static_cast<uint32_t>(largest) < kInfinity) return;
    uint64_t at = begin;
    while ((float_bits(values[at]) & kMagnitudeMask) < kInfinity) ++at;
    uint64_t seen = first.load();
    while (at < seen && !first.compare_exchange_weak(seen, at)) {
    }
  });
  return first.load();
}

Status count_magnitudes(const float* values, uint64_t num_values, int32_t upper_key,
                        uint32_t num_threads, uint64_t* counts) {
  const bool upper = upper_key < 0;
  const size_t num_counts = upper ? kNumUpperKeys : kNumLowerKeys;
  const uint32_t wanted = static_cast<uint32_t>(upper_key);
  try {
    const uint32_t num_workers = useful_workers(num_values, num_threads);
    std::vector<std::vector<uint64_t>> parts(num_workers, std::vector<uint64_t>(num_counts));
    for_chunks(num_values, num_workers, [&](uint32_t worker, uint64_t begin, uint64_t end) {
      uint64_t* const mine = parts[worker].data();
      for (uint64_t i = begin; i < end; ++i) {
        const uint32_t magnitude = float_bits(values[i]) & kMagnitudeMask;
        const uint32_t key = magnitude >> kLowerBits;
        if (upper) {
          ++mine[key];
        } else if (key == wanted) {
          ++mine[magnitude & kLowerMask];
        }
      }
    });
    for (const std::vector<uint64_t>& part : parts) {
      for (size_t i = 0; i < num_counts; ++i) counts[i] += part[i];
    }
    return Status{};
  } catch (const std::bad_alloc&) {
    return make_status(StatusCode::kOutOfMemory, "memory ran out for %zu counts", num_counts);
  }
}

void prune_values(const float* values, uint64_t num_values, float threshold, uint64_t num_ties,
                  float* pruned) {
  const uint32_t limit = float_bits(threshold) & kMagnitudeMask;
  uint64_t i = 0;
  for (; i < num_values && num_ties > 0; ++i) {
    const uint32_t magnitude = float_bits(values[i]) & kMagnitudeMask;
    if (magnitude == limit) --num_ties;
    pruned[i] = magnitude > limit ? values[i] : 0.0f;
  }
  // Without a branch, so that the compiler takes several values at a time.
  for (; i < num_values; ++i) {
    const uint32_t bits = float_bits(values[i]);
    const bool keep = static_cast<int32_t>(bits & kMagnitudeMask) >= static_cast<int32_t>(limit);
    const uint32_t kept = bits & (0u - static_cast<uint32_t>(keep));
    std::memcpy(&pruned[i], &kept, sizeof(kept));
  }
}

}  // namespace wl
