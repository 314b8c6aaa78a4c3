#include "core/analog_response.h"

#include <algorithm>
#include <cmath>
#include <new>

namespace wl {
namespace {

constexpr uint32_t kKnots = 257;         // of the mean response
constexpr double kLeastRise = 1 + 1e-9;  // from knot to knot, beyond errors of rounding
constexpr double kHeadroom = 1.5;        // of the table above the largest mean
constexpr double kStraight = 1e-6;       // curves below are the straight line
constexpr double kMaxLogTime = 4096;     // by which every drift has run its course
constexpr int kBisections = 100;
// Ratios of reference reads that still say something.
constexpr double kLeastGain = 1e-6;
constexpr double kMostGain = 1e6;

// The mean response at one time, and its inverse.
class Response {
 public:
  Response(const DeviceModel& device, double log_time) {
    double before = 0;
    for (uint32_t i = 0; i < kKnots; ++i) {
      const double mean = device.mean_response(target(i), log_time);
      // Knots that do not rise leave the inverse where it was.
      if (i == 0 || mean > before * kLeastRise) {
        means_[num_knots_] = before = mean;
        targets_[num_knots_++] = target(i);
      }
    }
  }

  bool rises() const { return num_knots_ > 1 && std::isfinite(means_[num_knots_ - 1]); }

  double invert(double mean) const {
    const double* above = std::upper_bound(means_ + 1, means_ + num_knots_ - 1, mean);
    const size_t i = static_cast<size_t>(above - means_) - 1;
    const double share = (mean - means_[i]) / (means_[i + 1] - means_[i]);
    return targets_[i] + share * (targets_[i + 1] - targets_[i]);
  }

 private:
  static double target(uint32_t knot) { return knot / (kKnots - 1.0); }

  double means_[kKnots];
  double targets_[kKnots];
  uint32_t num_knots_ = 0;
};

}  // namespace

double invert_curve(double curve, double x) {
  if (std::fabs(curve) < kStraight) return x;
  const double rise = std::expm1(curve);
  if (x < 0) return x * rise / curve;
  if (x > 1) return 1 + (x - 1) * rise / (curve * (rise + 1));
  return std::log1p(x * rise) / curve;
}

DriftEstimate estimate_drift(const AnalogView& view, double ratio) {
  DriftEstimate drift;
  if (!view.compensates_drift || !view.device.has_drift()) return drift;
  const double gain = std::isfinite(ratio) ? std::min(std::max(ratio, kLeastGain), kMostGain) : 1;
  if (!view.inverts_response) {
    drift.gain = gain;
    return drift;
  }
  const double reference = double{view.reference_level};
  const double at_first = view.device.mean_response(reference, 0);
  const auto has_passed = [&](double log_time) {
    return view.device.mean_response(reference, log_time) <= gain * at_first;
  };
  if (gain >= 1 || !(at_first > 0)) return drift;
  double low = 0;
  double high = 1;
  while (high < kMaxLogTime && !has_passed(high)) high *= 2;
  for (int i = 0; i < kBisections; ++i) {
    const double middle = (low + high) / 2;
    (has_passed(middle) ? high : low) = middle;
  }
  drift.log_time = high;
  return drift;
}

Status build_response(const AnalogView& view, const DriftEstimate& drift, ResponseTables* tables) {
  const DeviceModel& device = view.device;
  const double top = kHeadroom * device.mean_response(1, 0);
  const double step = top / kResponseIntervals;
  const Response response(device, drift.log_time);
  if (!(top > 0 && std::isfinite(1 / step)) || (view.inverts_response && !response.rises())) {
    return make_status(StatusCode::kDamaged,
                       "the mean response of the device must rise with the level and be finite, "
                       "got %g uS at the highest one",
                       device.mean_response(1, drift.log_time));
  }
  try {
    *tables = ResponseTables{};
    std::vector<float> curves;
    for (const AnalogSymbol& symbol : view.symbols) {
      const auto known = std::find(curves.begin(), curves.end(), symbol.curve);
      tables->of_symbol.push_back(static_cast<uint8_t>(known - curves.begin()));
      if (known == curves.end()) curves.push_back(symbol.curve);
    }
    tables->inverse_step = static_cast<float>(1 / step);
    tables->intercepts.reserve(curves.size() * kResponseIntervals);
    tables->slopes.reserve(curves.size() * kResponseIntervals);
    for (const float curve : curves) {
      const auto position = [&](uint32_t knot) {
        const double g = knot * step;
        const double x =
            view.inverts_response ? response.invert(g) : g / (device.g_max() * drift.gain);
        return invert_curve(double{curve}, x);
      };
      double left = position(0);
      for (uint32_t k = 0; k < kResponseIntervals; ++k) {
        const double right = position(k + 1);
        const double slope = (right - left) / step;
        tables->intercepts.push_back(static_cast<float>(left - slope * (k * step)));
        tables->slopes.push_back(static_cast<float>(slope));
        left = right;
      }
    }
  } catch (const std::bad_alloc&) {
    return make_status(StatusCode::kOutOfMemory, "memory ran out while the response was computed");
  }
  return Status{};
}

}  // namespace wl
