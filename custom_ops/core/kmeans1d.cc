#include "core/kmeans1d.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>
#include <numeric>

#include "core/parallel.h"

namespace wl {
namespace {

// Least-error partitions of sorted points when every cluster costs an extra penalty. Their error is
// convex in the number of clusters, so that each number is reached by some penalty.
class PenalisedPartition {
 public:
  PenalisedPartition(const double* points, const double* masses, size_t num_points)
      : num_points_(num_points),
        mass_(num_points + 1),
        first_(num_points + 1),
        second_(num_points + 1),
        value_(num_points + 1),
        parent_(num_points + 1) {
    // The sums run outward from the median, about the median: far points then cost the near ones no
    // precision.
    double total = 0;
    for (size_t i = 0; i < num_points; ++i) total += masses[i];
    double below = 0;
    size_t median = 0;
    while (median + 1 < num_points && below + masses[median] < total / 2) below += masses[median++];
    const double centre = points[median];
    for (size_t i = median; i < num_points; ++i) {
      const double x = points[i] - centre;
      mass_[i + 1] = mass_[i] + masses[i];
      first_[i + 1] = first_[i] + masses[i] * x;
      second_[i + 1] = second_[i] + masses[i] * x * x;
    }
    for (size_t i = median; i-- > 0;) {
      const double x = points[i] - centre;
      mass_[i] = mass_[i + 1] - masses[i];
      first_[i] = first_[i + 1] - masses[i] * x;
      second_[i] = second_[i + 1] - masses[i] * x * x;
    }
    candidates_.reserve(num_points + 1);
  }

  // The error of points [begin, end) in one cluster.
  double error(size_t begin, size_t end) const {
    const double sum = first_[end] - first_[begin];
    return second_[end] - second_[begin] - sum * sum / (mass_[end] - mass_[begin]);
  }

  double total_error(const std::vector<uint32_t>& ends) const {
    double total = 0;
    for (size_t j = 0; j + 1 < ends.size(); ++j) total += error(ends[j], ends[j + 1]);
    return total;
  }

  // The ends of the clusters of a best partition, 0 first and num_points last.
  std::vector<uint32_t> solve(double penalty) {
    // Of two candidates for the last cluster's begin, the later one wins from some end on, for all
    // further ends. The queue holds the candidates that win somewhere, with where they begin to.
    candidates_.clear();
    size_t head = 0;
    value_[0] = 0;
    candidates_.push_back({0, 1});
    for (size_t end = 1; end <= num_points_; ++end) {
      if (end > 1) push(end - 1, head);
      while (head + 1 < candidates_.size() && candidates_[head + 1].from <= end) ++head;
      const size_t begin = candidates_[head].begin;
      value_[end] = value_[begin] + error(begin, end) + penalty;
      parent_[end] = static_cast<uint32_t>(begin);
    }
    std::vector<uint32_t> ends;
    for (size_t end = num_points_; end > 0; end = parent_[end]) {
      ends.push_back(static_cast<uint32_t>(end));
    }
    ends.push_back(0);
    std::reverse(ends.begin(), ends.end());
    return ends;
  }

 private:
  struct Candidate {
    size_t begin;
    size_t from;
  };

  bool wins(size_t later, size_t earlier, size_t end) const {
    return value_[later] + error(later, end) < value_[earlier] + error(earlier, end);
  }

  // Puts `begin` where it belongs in the queue, of which candidates before `head` are done with.
  void push(size_t begin, size_t head) {
    size_t low = begin + 1;  // the first end that is still undecided
    while (candidates_.size() > head + 1 &&
           wins(begin, candidates_.back().begin, candidates_.back().from)) {
      candidates_.pop_back();
    }
    const Candidate back = candidates_.back();
    low = std::max(low, back.from);
    // Doubling steps, then halving ones: the place is mostly near.
    size_t high = low;
    for (size_t step = 1; high <= num_points_ && !wins(begin, back.begin, high); step *= 2) {
      low = high + 1;
      high = std::min(high + step, num_points_ + (high == num_points_ ? 1 : 0));
    }
    if (high > num_points_) return;
    while (low < high) {
      const size_t middle = low + (high - low) / 2;
      if (wins(begin, back.begin, middle)) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    candidates_.push_back({begin, high});
  }

  size_t num_points_;
  std::vector<double> mass_, first_, second_;  // sums over the points before
  std::vector<double> value_;                  // least error and penalties of the points before
  std::vector<uint32_t> parent_;
  std::vector<Candidate> candidates_;
};

// A partition of exactly `num_clusters`, from one with fewer and one with more that are both best
// at one penalty: the first clusters of `more`, then the last ones of `fewer`.
std::vector<uint32_t> splice(const std::vector<uint32_t>& fewer, const std::vector<uint32_t>& more,
                             size_t num_clusters) {
  const size_t shift = num_clusters - (fewer.size() - 1);
  size_t i = 0;
  while (fewer[i + 1] < more[i + 1 + shift]) ++i;
  std::vector<uint32_t> ends(more.begin(),
                             more.begin() + static_cast<std::ptrdiff_t>(i + shift + 1));
  ends.insert(ends.end(), fewer.begin() + static_cast<std::ptrdiff_t>(i + 1), fewer.end());
  return ends;
}

// The penalty that gives about num_clusters where points are dense: errors fall as
// (integral of density^(1/3))^3 / (12 k^2), Panter and Dite 1951.
double guess_penalty(const double* points, const double* masses, size_t num_points,
                     double num_clusters) {
  double integral = 0;
  for (size_t i = 0; i + 1 < num_points; ++i) {
    const double gap = points[i + 1] - points[i];
    integral += std::cbrt((masses[i] + masses[i + 1]) / 2 * gap * gap);
  }
  const double ratio = integral / num_clusters;
  return ratio * ratio * ratio / 6;
}

std::vector<uint32_t> best_ends(const double* points, const double* masses, size_t num_points,
                                size_t num_clusters) {
  constexpr int kGuidedTries = 8;
  PenalisedPartition partition(points, masses, num_points);
  std::vector<uint32_t> fewer = {0, static_cast<uint32_t>(num_points)};
  if (num_clusters == 1) return fewer;
  std::vector<uint32_t> more(num_points + 1);
  std::iota(more.begin(), more.end(), 0u);
  double low = 0;
  double high = partition.error(0, num_points);
  double penalty = guess_penalty(points, masses, num_points, static_cast<double>(num_clusters));
  for (int attempt = 0;; ++attempt) {
    // A guess that leaves the bracket, or guesses that do not arrive, give way to the penalty at
    // which both ends of the bracket cost the same. Where nothing better lies between, both are
    // best.
    const bool guided = attempt < kGuidedTries && penalty > low && penalty < high;
    if (!guided) {
      penalty = (partition.total_error(fewer) - partition.total_error(more)) /
                static_cast<double>(more.size() - fewer.size());
    }
    std::vector<uint32_t> ends = partition.solve(penalty);
    if (ends.size() - 1 == num_clusters) return ends;
    if (!guided && (ends.size() <= fewer.size() || ends.size() >= more.size())) break;
    const double ratio = static_cast<double>(ends.size() - 1) / static_cast<double>(num_clusters);
    if (ratio < 1) {
      high = penalty;
      fewer = std::move(ends);
    } else {
      low = penalty;
      more = std::move(ends);
    }
    penalty *= ratio * ratio * ratio;
  }
  return splice(fewer, more, num_clusters);
}

constexpr int kKeyShift = 16;  // sign, exponent and seven bits of mantissa choose a first guess

uint32_t float_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

// Assigns values: a table gives the cluster of the least float that shares a value's upper bits,
// and the limits above it say whether the value lies further up.
class Assigner {
 public:
  Assigner(const float* codebook, uint32_t num_clusters)
      : codebook_(codebook), limits_(num_clusters), guess_(size_t{1} << (32 - kKeyShift)) {
    for (uint32_t j = 0; j + 1 < num_clusters; ++j) {
      const double middle = (double{codebook[j]} + double{codebook[j + 1]}) / 2;
      float limit = static_cast<float>(middle);
      if (double{limit} > middle) {
        limit = std::nextafter(limit, -std::numeric_limits<float>::infinity());
      }
      limits_[j] = limit;
    }
    limits_[num_clusters - 1] = std::numeric_limits<float>::infinity();
    for (uint32_t key = 0; key < guess_.size(); ++key) {
      const bool negative = key >> 15 != 0;
      const uint32_t bits = key << kKeyShift | (negative ? 0xFFFFu : 0);
      float least;
      std::memcpy(&least, &bits, sizeof(least));
      if (!std::isfinite(least)) least = negative ? -std::numeric_limits<float>::max() : 0;
      const auto place = std::lower_bound(limits_.begin(), limits_.end(), least);
      guess_[key] = static_cast<uint16_t>(place - limits_.begin());
    }
  }

  // Returns the error; NaN or infinity where a value is not finite.
  double assign(const float* values, uint64_t num_values, uint16_t* assignments) const {
    double error = 0;
    for (uint64_t i = 0; i < num_values; ++i) {
      const float value = values[i];
      uint32_t cluster = guess_[float_bits(value) >> kKeyShift];
      while (value > limits_[cluster]) ++cluster;
      assignments[i] = static_cast<uint16_t>(cluster);
      const double distance = double{value} - double{codebook_[cluster]};
      error += distance * distance;
    }
    return error;
  }

 private:
  const float* codebook_;
  std::vector<float> limits_;  // a value above limits_[j] is nearer to centroid j + 1 than to j
  std::vector<uint16_t> guess_;
};

}  // namespace

Status cluster_points(const double* points, const double* masses, size_t num_points,
                      uint32_t max_clusters, Clusters1d* clusters) {
  if (num_points == 0 || max_clusters == 0 || num_points >= std::numeric_limits<uint32_t>::max()) {
    return make_status(StatusCode::kInvalidArgument,
                       "points and clusters must be 1 or more, got %zu and %u", num_points,
                       max_clusters);
  }
  for (size_t i = 0; i < num_points; ++i) {
    if (!std::isfinite(points[i]) || (i > 0 && !(points[i - 1] < points[i]))) {
      return make_status(StatusCode::kInvalidArgument,
                         "points must be finite and ascending, got %g as point %zu", points[i], i);
    }
    if (!(masses[i] > 0 && std::isfinite(masses[i]))) {
      return make_status(StatusCode::kInvalidArgument, "masses must be above 0, got %g as mass %zu",
                         masses[i], i);
    }
  }
  try {
    const size_t num_clusters = std::min<size_t>(max_clusters, num_points);
    clusters->centroids.assign(points, points + num_points);
    clusters->masses.assign(masses, masses + num_points);
    clusters->error = 0;
    if (num_clusters == num_points) return Status{};
    const std::vector<uint32_t> ends = best_ends(points, masses, num_points, num_clusters);
    clusters->centroids.resize(num_clusters);
    clusters->masses.resize(num_clusters);
    for (size_t j = 0; j < num_clusters; ++j) {
      double mass = 0;
      double offset = 0;
      for (size_t i = ends[j]; i < ends[j + 1]; ++i) {
        mass += masses[i];
        offset += masses[i] * (points[i] - points[ends[j]]);
      }
      const double centroid = points[ends[j]] + offset / mass;
      for (size_t i = ends[j]; i < ends[j + 1]; ++i) {
        clusters->error += masses[i] * (points[i] - centroid) * (points[i] - centroid);
      }
      clusters->centroids[j] = centroid;
      clusters->masses[j] = mass;
    }
    return Status{};
  } catch (const std::bad_alloc&) {
    return make_status(StatusCode::kOutOfMemory, "memory ran out for %zu points", num_points);
  }
}

Status assign_clusters(const float* values, uint64_t num_values, const float* codebook,
                       uint32_t num_clusters, uint32_t num_threads, uint16_t* assignments,
                       double* error) {
  if (num_clusters < 1 || num_clusters > 65536) {
    return make_status(StatusCode::kInvalidArgument, "clusters must be from 1 to 65536, got %u",
                       num_clusters);
  }
  for (uint32_t j = 0; j < num_clusters; ++j) {
    if (!std::isfinite(codebook[j]) || (j > 0 && !(codebook[j - 1] < codebook[j]))) {
      return make_status(StatusCode::kInvalidArgument,
                         "centroids must be finite and ascending, got %g as centroid %u",
                         double{codebook[j]}, j);
    }
  }
  try {
    // Sums of fixed chunks, added in order: the error does not depend on the number of threads.
    constexpr uint64_t kChunk = uint64_t{1} << 18;
    const uint64_t num_chunks = (num_values + kChunk - 1) / kChunk;
    const Assigner assigner(codebook, num_clusters);
    std::vector<double> errors(num_chunks);
    parallel_for(num_chunks, num_threads, [&](uint32_t, uint64_t chunk) {
      const uint64_t begin = chunk * kChunk;
      errors[chunk] = assigner.assign(values + begin, std::min(kChunk, num_values - begin),
                                      assignments + begin);
    });
    *error = 0;
    for (const double part : errors) *error += part;
    if (!std::isfinite(*error)) {
      return make_status(StatusCode::kInvalidArgument,
                         "values must be finite, got NaN or infinity");
    }
    return Status{};
  } catch (const std::bad_alloc&) {
    return make_status(StatusCode::kOutOfMemory, "memory ran out for %u clusters", num_clusters);
  }
}

}  // namespace wl
