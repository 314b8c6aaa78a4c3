#include "core/bundle_levels.h"

namespace wl {

void LevelContexts::set_magnitude(const int32_t* levels, uint32_t at, BitMixer* mixer) {
  const uint32_t row = tensor_.row_length;
  const uint32_t kernel = tensor_.kernel_length;
  const bool has_kernel = kernel > 1;
  const uint32_t left = near(levels, at, 1, column_ >= 1);
  const uint32_t second = near(levels, at, 2, column_ >= 2);
  const uint32_t above = near(levels, at, row, row_index_ > 0);
  const uint32_t channel_before = has_kernel ? near(levels, at, kernel, column_ >= kernel) : second;
  const uint32_t neighbours = left * 64 + above * 16 + channel_before * 4 + second;
  mixer->set_context(0, neighbours * 64 + tensor_.scale);
  mixer->set_context(1, index_);
  mixer->set_context(2, index_ << 16 ^ row_index_);
  mixer->set_context(3, index_ << 16 ^ column_);
  mixer->set_context(4, index_ << 16 ^ channel_);
  const uint32_t place_mean = places_[place_].half_octaves_from(first_mean_);
  const uint32_t channel_mean = channels_[channel_].half_octaves_from(first_mean_);
  const uint32_t row_mean = row_.half_octaves_from(first_mean_);
  mixer->set_context(5, (place_mean * 64 + channel_mean) * 64 + row_mean);
}

void LevelContexts::set_sign(const int32_t* levels, uint32_t at, BitMixer* mixer) const {
  const uint32_t left = sign(levels, at, 1, column_ >= 1);
  const uint32_t above = sign(levels, at, tensor_.row_length, row_index_ > 0);
  mixer->set_context(0, left * 3 + above);
  mixer->set_context(1, index_ << 16 ^ place_);
}

}  // namespace wl
