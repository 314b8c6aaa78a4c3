#include "core/bundle_levels.h"

namespace wl {

void LevelContexts::set_magnitude(const int32_t* levels, uint32_t at, BitMixer* mixer) {
  const uint32_t left = near(levels, at, 1, column_ >= 1);
  const uint32_t second = near(levels, at, 2, column_ >= 2);
  const uint32_t above = near(levels, at, tensor_.row_length, row_index_ > 0);
  mixer->set_context(0, (left * 16 + above * 4 + second) * 64 + tensor_.scale);
  mixer->set_context(1, index_);
  mixer->set_context(2, index_ << 16 ^ row_index_);
  mixer->set_context(3, index_ << 16 ^ column_);
  const uint32_t column_mean = mean(columns_[column_], row_index_);
  mixer->set_context(4, (mean(all_, at) * 64 + column_mean) * 64 + mean(row_, column_));
}

void LevelContexts::set_sign(const int32_t* levels, uint32_t at, BitMixer* mixer) const {
  const uint32_t left = sign(levels, at, 1, column_ >= 1);
  const uint32_t above = sign(levels, at, tensor_.row_length, row_index_ > 0);
  mixer->set_context(0, left * 3 + above);
}

}  // namespace wl
