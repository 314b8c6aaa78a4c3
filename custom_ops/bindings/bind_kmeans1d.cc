// Counting, pruning and clustering of weights. Arrays are float32 as they are: nothing is
// converted.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <new>
#include <utility>
#include <vector>

#include "bindings/bind_status.h"
#include "core/kmeans1d.h"
#include "core/magnitude_histogram.h"
#include "core/status.h"

namespace nb = nanobind;

namespace wl {

void bind_kmeans1d(nb::module_& module);

namespace {

template <typename T>
using Vector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename T>
using NumpyVector = nb::ndarray<nb::numpy, T, nb::ndim<1>>;

template <typename T>
NumpyVector<T> to_numpy(std::vector<T> values) {
  auto* kept = new std::vector<T>(std::move(values));
  nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return NumpyVector<T>(kept->data(), {kept->size()}, owner);
}

uint64_t find_non_finite_values(Vector<const float> values, uint32_t threads) {
  nb::gil_scoped_release release;
  return find_non_finite(values.data(), values.size(), threads);
}

void count_values(Vector<const float> values, int32_t upper_key, uint32_t threads,
                  Vector<uint64_t> counts) {
  if (counts.size() != (upper_key < 0 ? kNumUpperKeys : kNumLowerKeys)) {
    throw nb::value_error("counts must have 2^15 or 2^16 places");
  }
  Status status;
  {
    nb::gil_scoped_release release;
    status = count_magnitudes(values.data(), values.size(), upper_key, threads, counts.data());
  }
  throw_if_error(status);
}

void prune(Vector<const float> values, float threshold, uint64_t num_ties, Vector<float> pruned) {
  if (pruned.size() != values.size()) {
    throw nb::value_error("pruned must have as many places as values");
  }
  nb::gil_scoped_release release;
  prune_values(values.data(), values.size(), threshold, num_ties, pruned.data());
}

nb::tuple histogram(Vector<const float> values, uint32_t max_bins, uint32_t threads) {
  MagnitudeHistogram built;
  Status status;
  std::vector<int64_t> counts[2];
  std::vector<double> means[2];
  {
    nb::gil_scoped_release release;
    status = build_histogram(values.data(), values.size(), max_bins, threads, &built);
    for (int sign = 0; sign < 2; ++sign) {
      for (const MagnitudeBin& bin : built.bins) {
        counts[sign].push_back(static_cast<int64_t>(bin.counts[sign]));
        means[sign].push_back(bin.means[sign]);
      }
    }
  }
  throw_if_error(status);
  return nb::make_tuple(built.num_zeros, to_numpy(std::move(counts[0])),
                        to_numpy(std::move(counts[1])), to_numpy(std::move(means[0])),
                        to_numpy(std::move(means[1])), built.exact);
}

nb::tuple cluster(Vector<const double> points, Vector<const double> masses, uint32_t max_clusters) {
  if (points.size() != masses.size()) {
    throw nb::value_error("points and masses must be of one length");
  }
  Clusters1d clusters;
  Status status;
  {
    nb::gil_scoped_release release;
    status = cluster_points(points.data(), masses.data(), points.size(), max_clusters, &clusters);
  }
  throw_if_error(status);
  return nb::make_tuple(to_numpy(std::move(clusters.centroids)),
                        to_numpy(std::move(clusters.masses)), clusters.error);
}

double assign(Vector<const float> values, Vector<const float> codebook, uint32_t threads,
              Vector<uint16_t> assignments) {
  if (assignments.size() != values.size() || codebook.size() > 65536) {
    throw nb::value_error("assignments must be as many as values, clusters at most 65536");
  }
  double error = 0;
  Status status;
  {
    nb::gil_scoped_release release;
    status = assign_clusters(values.data(), values.size(), codebook.data(),
                             static_cast<uint32_t>(codebook.size()), threads, assignments.data(),
                             &error);
  }
  throw_if_error(status);
  return error;
}

}  // namespace

void bind_kmeans1d(nb::module_& module) {
  module.def("find_non_finite", &find_non_finite_values, nb::arg("values").noconvert(),
             nb::arg("threads"));
  module.def("count_magnitudes", &count_values, nb::arg("values").noconvert(), nb::arg("upper_key"),
             nb::arg("threads"), nb::arg("counts").noconvert());
  module.def("prune_values", &prune, nb::arg("values").noconvert(), nb::arg("threshold"),
             nb::arg("num_ties"), nb::arg("pruned").noconvert());
  module.def("magnitude_histogram", &histogram, nb::arg("values").noconvert(), nb::arg("max_bins"),
             nb::arg("threads"));
  module.def("cluster_points", &cluster, nb::arg("points").noconvert(),
             nb::arg("masses").noconvert(), nb::arg("max_clusters"));
  module.def("assign_clusters", &assign, nb::arg("values").noconvert(),
             nb::arg("codebook").noconvert(), nb::arg("threads"),
             nb::arg("assignments").noconvert());
}

}  // namespace wl
