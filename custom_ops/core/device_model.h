// A memory cell: what comes back of the level that was written to it. FORMAT.md, "Device record".
//
// Conductances are in microsiemens, times in seconds. x is the target as a share of g_max, 0 to 1:
// level / (2^write_bits - 1). log_time is ln(T / t0) with T the time since programming plus t0, the
// time at which the device's drift law begins.
#ifndef WL_CORE_DEVICE_MODEL_H_
#define WL_CORE_DEVICE_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/status.h"

namespace wl {

class ByteReader;

// What a device does to each level of a write, [2^write_bits] each.
struct LevelTable {
  std::vector<float> mean;             // of the programmed conductance
  std::vector<float> deviation;        // of the programming noise
  std::vector<float> drift_mean;       // of the drift exponent
  std::vector<float> drift_deviation;  // likewise
  std::vector<float> read_deviation;   // the part of the read noise that is added as it is
};

// The part of the read noise that follows the conductance: a share
// min(scale / max(y^exponent, floor), cap) of it, y the programmed conductance over g_max.
struct ReadNoise {
  float scale, exponent, floor, cap;
};

class DeviceModel {
 public:
  // Reads the record that `data` begins with; *used_bytes is its length. Checks all of it before it
  // allocates anything. Both outputs stay as they are where that fails.
  // Errors: kDamaged, with what must hold; kOutOfMemory.
  static Status parse(const uint8_t* data, size_t size, DeviceModel* model, size_t* used_bytes);

  double g_max() const { return g_max_; }
  bool has_drift() const { return has_drift_; }
  const ReadNoise& read_noise() const { return read_noise_; }

  // write_bits: 1 to 16. Throws std::bad_alloc where there is no memory.
  LevelTable tabulate(int write_bits) const;

  // The expectation of a cell's conductance, programming noise and drift included, without the read
  // noise. x: 0 to 1. log_time: 0 or more; 0 is the moment of programming.
  double mean_response(double x, double log_time) const;

  // ln((time_s + t0) / t0); 0 for a device that has no t0. time_s: 0 or more, finite.
  double log_time(double time_s) const;

  // By what the share of the read noise grows: sqrt(ln((T + t_read) / (2 t_read))), at least 0; 0
  // for a device without such noise. time_s: 0 or more, finite.
  double read_time_factor(double time_s) const;

 private:
  // What a cell with target x is programmed to, and how its drift exponent is spread.
  struct Response {
    double mean, deviation, drift_mean, drift_deviation, read_deviation;
  };
  // clip(slope * ln(max(x, 1e-7)) + intercept, low, high)
  struct ClippedLog {
    double slope = 0, intercept = 0, low = 0, high = 0;
    double at(double x) const;
  };
  // Of a device given by its measured levels; each [num_levels], nothing for others.
  struct Measured {
    std::vector<float> levels, mean, deviation, read_deviation;
  };

  Response respond(double x) const;
  static Status parse_pcm(ByteReader* reader, DeviceModel* model);
  static Status parse_table(ByteReader* reader, DeviceModel* model);

  double g_max_ = 0;
  bool has_drift_ = false;
  double programming_[3] = {};  // deviation: max(0, p0 + p1 x + p2 x^2)
  ClippedLog drift_mean_;
  ClippedLog drift_deviation_;
  double t0_s_ = 0;
  ReadNoise read_noise_ = {};
  double t_read_s_ = 0;
  double read_deviation_ = 0;
  Measured measured_;
};

}  // namespace wl

#endif  // WL_CORE_DEVICE_MODEL_H_
