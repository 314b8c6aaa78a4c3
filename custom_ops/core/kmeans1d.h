// Optimal one-dimensional k-means, and the assignment of weights to centroids.
#ifndef WL_CORE_KMEANS1D_H_
#define WL_CORE_KMEANS1D_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/status.h"

namespace wl {

struct Clusters1d {
  std::vector<double> centroids;  // ascending
  std::vector<double> masses;     // [centroids.size()], the points' masses in each cluster
  double error = 0;               // sum of mass * (point - centroid)^2
};

// Parts num_points points into min(max_clusters, num_points) clusters at the least possible error.
// Takes num_points * log(num_points) for each of a few tries, whatever max_clusters is, and 60
// bytes a point.
//   points: strictly ascending; masses: above 0. Both finite, neither aliased by `clusters`.
//
// Errors: kInvalidArgument where there is no point, no cluster or a point out of order; kFailed
// when memory runs out.
//
// Source: Grønlund, Larsen, Mathiasen, Nielsen, Schneider, Song, "Fast exact k-means, k-medians and
// Bregman divergence clustering in 1D", 2017, the search for a penalty; its last step is the swap
// of paths in Aggarwal, Schieber, Tokuyama, "Finding a minimum-weight k-link path in graphs with
// the concave Monge property and applications", 1994.
Status cluster_points(const double* points, const double* masses, size_t num_points,
                      uint32_t max_clusters, Clusters1d* clusters);

// Writes the index of the nearest centroid of each value, the lower one where two are as near.
//   values: [num_values]; codebook: [num_clusters], strictly ascending and finite, 1 to 65536;
//   assignments: [num_values]; error: sum of (value - centroid)^2, the same for any num_threads.
// Errors: kInvalidArgument where the codebook breaks a rule or a value is not finite; kFailed when
// memory runs out.
Status assign_clusters(const float* values, uint64_t num_values, const float* codebook,
                       uint32_t num_clusters, uint32_t num_threads, uint16_t* assignments,
                       double* error);

}  // namespace wl

#endif  // WL_CORE_KMEANS1D_H_
