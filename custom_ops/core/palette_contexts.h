// The context of each weight of a palette.
#ifndef WL_CORE_PALETTE_CONTEXTS_H_
#define WL_CORE_PALETTE_CONTEXTS_H_

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/palette_model.h"

namespace wl {

// Weights that are coded at a time, so that all that they need stays in the L1 cache.
constexpr uint32_t kBlockWeights = 2048;

// The contexts of the weights from one place of the tensor on.
class PaletteContexts {
 public:
  PaletteContexts(const PaletteModel& model, uint64_t first) : model_(model) {
    if (model.num_contexts() == 1) return;
    row_ = first / model.row_length;
    column_ = static_cast<uint32_t>(first % model.row_length);
  }

  // Those of the next `count` weights, at most kBlockWeights; null where there is one context.
  const uint8_t* read(uint32_t count) {
    if (model_.num_contexts() == 1) return nullptr;
    for (uint32_t done = 0; done < count;) {
      const uint32_t run = std::min(count - done, model_.row_length - column_);
      const uint32_t base =
          model_.row_classes.empty() ? 0 : model_.row_classes[row_] * model_.num_column_classes;
      fill(base, run, contexts_ + done);
      done += run;
      column_ += run;
      if (column_ == model_.row_length) {
        column_ = 0;
        ++row_;
      }
    }
    return contexts_;
  }

 private:
  void fill(uint32_t base, uint32_t count, uint8_t* contexts) const {
    if (model_.column_classes.empty()) {
      std::memset(contexts, static_cast<int>(base), count);
      return;
    }
    const uint8_t* classes = model_.column_classes.data() + column_;
    for (uint32_t i = 0; i < count; ++i) contexts[i] = static_cast<uint8_t>(base + classes[i]);
  }

  const PaletteModel& model_;
  uint64_t row_ = 0;
  uint32_t column_ = 0;
  uint8_t contexts_[kBlockWeights];
};

}  // namespace wl

#endif  // WL_CORE_PALETTE_CONTEXTS_H_
