#include "core/device_model.h"

#include <algorithm>
#include <cmath>

namespace wl {
namespace {

constexpr double kLeastShare = 1e-7;  // x in the logarithms of the drift law
constexpr double kPi = 3.14159265358979323846;

double density(double z) { return std::exp(-z * z / 2) / std::sqrt(2 * kPi); }
double cumulative(double z) { return std::erfc(-z / std::sqrt(2.0)) / 2; }

// exp(a^2 / 2) times the probability above a, a >= 0, also where the one overflows.
double scaled_tail(double a) {
  if (a < 25) return std::exp(a * a / 2) * cumulative(-a);
  const double r = 1 / (a * a);  // the first terms of the asymptotic series
  return (1 - r * (1 - 3 * r * (1 - 5 * r))) / (a * std::sqrt(2 * kPi));
}

// E[max(0, N(mean, deviation))]
double clipped_mean(double mean, double deviation) {
  if (deviation == 0) return std::max(0.0, mean);
  const double z = mean / deviation;
  return mean * cumulative(z) + deviation * density(z);
}

// E[exp(-nu t); nu > 0] of nu ~ N(mean, deviation), deviation > 0.
double decay_above(double mean, double deviation, double t) {
  const double z = mean / deviation;
  const double shifted = z - deviation * t;
  if (shifted >= 0)
    return std::exp(-t * (mean - deviation * deviation * t / 2)) * cumulative(shifted);
  return std::exp(-z * z / 2) * scaled_tail(-shifted);
}

}  // namespace

double DeviceModel::ClippedLog::at(double x) const {
  return std::min(std::max(slope * std::log(std::max(x, kLeastShare)) + intercept, low), high);
}

DeviceModel::Response DeviceModel::respond(double x) const {
  if (measured_.levels.empty()) {
    const double deviation = programming_[0] + (programming_[1] + programming_[2] * x) * x;
    return {g_max_ * x, std::max(0.0, deviation), drift_mean_.at(x), drift_deviation_.at(x),
            read_deviation_};
  }
  const std::vector<float>& levels = measured_.levels;
  const auto above = std::upper_bound(levels.begin() + 1, levels.end() - 1, x);
  const size_t right = static_cast<size_t>(above - levels.begin());
  const double left_level = double{levels[right - 1]};
  const double share = (x - left_level) / (double{levels[right]} - left_level);
  const auto between = [&](const std::vector<float>& values) {
    return (1 - share) * double{values[right - 1]} + share * double{values[right]};
  };
  return {between(measured_.mean), between(measured_.deviation), 0, 0,
          between(measured_.read_deviation)};
}

LevelTable DeviceModel::tabulate(int write_bits) const {
  const size_t num_levels = size_t{1} << write_bits;
  LevelTable table;
  for (std::vector<float>* values : {&table.mean, &table.deviation, &table.drift_mean,
                                     &table.drift_deviation, &table.read_deviation}) {
    values->resize(num_levels);
  }
  for (size_t level = 0; level < num_levels; ++level) {
    const Response at = respond(static_cast<double>(level) / static_cast<double>(num_levels - 1));
    table.mean[level] = static_cast<float>(at.mean);
    table.deviation[level] = static_cast<float>(at.deviation);
    table.drift_mean[level] = static_cast<float>(at.drift_mean);
    table.drift_deviation[level] = static_cast<float>(at.drift_deviation);
    table.read_deviation[level] = static_cast<float>(at.read_deviation);
  }
  return table;
}

double DeviceModel::mean_response(double x, double log_time) const {
  const Response at = respond(x);
  const double programmed = clipped_mean(at.mean, at.deviation);
  if (!has_drift_ || log_time == 0) return programmed;
  if (at.drift_deviation == 0) return programmed * std::exp(-std::fabs(at.drift_mean) * log_time);
  return programmed * (decay_above(at.drift_mean, at.drift_deviation, log_time) +
                       decay_above(-at.drift_mean, at.drift_deviation, log_time));
}

double DeviceModel::log_time(double time_s) const {
  return t0_s_ > 0 ? std::log1p(time_s / t0_s_) : 0;
}

double DeviceModel::read_time_factor(double time_s) const {
  if (!(read_noise_.scale > 0)) return 0;
  const double ratio = (time_s + t0_s_ + t_read_s_) / (2 * t_read_s_);
  return ratio > 1 ? std::sqrt(std::log(ratio)) : 0;
}

}  // namespace wl
