#include "core/palette_fit.h"

#include <algorithm>

#include "core/fixed_log.h"
#include "core/palette_classes.h"
#include "core/palette_contexts.h"

namespace wl {
namespace {

// Precision that candidates are compared at.
constexpr int kUsualPrecision = 2;
constexpr int kMostPrecision = 6;
// Tensors above this size keep to tables of 32 bits a slot, which decode fastest.
constexpr uint64_t kAnyTableWeights = 1 << 18;
// From here on smaller tables, which stay in the caches, are worth 1/256 of the bits.
constexpr uint64_t kSmallTableWeights = 1 << 20;

// The number nearest to `share` that round_share leaves as it is.
uint32_t to_precision(uint64_t share, int precision) {
  const uint32_t limit = (1U << kMaxShareBits) - 1;
  const uint32_t clipped = static_cast<uint32_t>(std::min<uint64_t>(share, limit));
  const int left = std::max(0, bit_length(clipped) - 1 - precision);
  const uint32_t half = left == 0 ? 0 : 1U << (left - 1);
  return round_share(std::min(clipped + half, limit), precision);
}

// Fits the tables of one (probability_bits, precision, scale).
class TableFitter {
 public:
  TableFitter(const std::vector<uint64_t>& counts, uint32_t num_symbols, int probability_bits,
              int precision, int scale_bits)
      : counts_(counts),
        num_symbols_(num_symbols),
        probability_bits_(probability_bits),
        precision_(precision),
        scale_bits_(scale_bits),
        frequencies_(num_symbols) {}

  // Writes the shares [context][symbol]; the symbols' cost in bits, or UINT64_MAX where there are
  // no such frequencies.
  uint64_t fit(std::vector<uint32_t>* shares) {
    shares->assign(counts_.size(), 0);
    uint64_t total = 0;
    for (size_t row = 0; row < counts_.size(); row += num_symbols_) {
      const uint64_t* counts = counts_.data() + row;
      uint32_t* own = shares->data() + row;
      fit_own(counts, own);
      uint64_t cost = cost_of(counts, own);
      if (row == 0) {
        mode_ = mode_symbol(*shares, num_symbols_);
      } else {
        const uint32_t* before = own - num_symbols_;
        if (fit_copy(counts, before)) {
          const uint64_t copy_cost = cost_of(counts, copy_.data());
          if (add(copy_cost, 6) <= add(cost, num_bits(own))) {
            std::copy(copy_.begin(), copy_.end(), own);
            cost = copy_cost;
          }
        }
      }
      if (cost == UINT64_MAX) return UINT64_MAX;
      total += cost;
    }
    return total / kFixedLogUnit + 1;
  }

 private:
  static uint64_t add(uint64_t cost, uint64_t bits) {
    return cost == UINT64_MAX ? cost : cost + bits * kFixedLogUnit;
  }

  // About what an own table costs.
  uint64_t num_bits(const uint32_t* shares) const {
    uint64_t bits = 0;
    for (uint32_t s = 0; s < num_symbols_; ++s) {
      bits +=
          1 + static_cast<uint64_t>(std::min(precision_, std::max(0, bit_length(shares[s]) - 1)));
    }
    return bits;
  }

  void fit_own(const uint64_t* counts, uint32_t* shares) const {
    uint64_t total = 0;
    for (uint32_t s = 0; s < num_symbols_; ++s) total += counts[s];
    if (total == 0) {
      shares[mode_] = 1;
      return;
    }
    for (uint32_t s = 0; s < num_symbols_; ++s) {
      if (counts[s] == 0) continue;
      // Beside its share every symbol gets a frequency of 1.
      const uint64_t share = ((counts[s] << scale_bits_) + total / 2) / total;
      const uint64_t more = scale_bits_ < probability_bits_ ? 1 : 0;
      shares[s] = to_precision(std::max<uint64_t>(1, share + more), precision_);
    }
  }

  // The table before with another share of the mode; false where a symbol would be missing.
  bool fit_copy(const uint64_t* counts, const uint32_t* before) {
    copy_.assign(before, before + num_symbols_);
    uint64_t others = 0;
    uint64_t other_shares = 0;
    for (uint32_t s = 0; s < num_symbols_; ++s) {
      if (counts[s] != 0 && before[s] == 0) return false;
      if (s == mode_ || before[s] == 0) continue;
      others += counts[s];
      other_shares += before[s] - 1;
    }
    const uint64_t most = (1U << kMaxShareBits) - 1;
    uint64_t share = counts[mode_] == 0 ? 1 : before[mode_];
    if (others != 0) {
      const uint64_t ratio = std::min((counts[mode_] << 8) / others, uint64_t{1} << 32);
      share = 1 + std::min((ratio * other_shares) >> 8, most);
    } else if (counts[mode_] != 0) {
      share = most;
    }
    copy_[mode_] = to_precision(share, mode_precision(precision_));
    return true;
  }

  uint64_t cost_of(const uint64_t* counts, const uint32_t* shares) {
    if (!to_frequencies(shares, num_symbols_, probability_bits_, frequencies_.data())) {
      return UINT64_MAX;
    }
    uint64_t cost = 0;
    for (uint32_t s = 0; s < num_symbols_; ++s) {
      if (counts[s] == 0) continue;
      cost += counts[s] * symbol_cost(logs_, frequencies_[s], probability_bits_);
    }
    return cost;
  }

  const std::vector<uint64_t>& counts_;
  const uint32_t num_symbols_;
  const int probability_bits_;
  const int precision_;
  const int scale_bits_;
  const uint32_t* logs_ = fixed_log2_table();
  uint32_t mode_ = 0;
  std::vector<uint32_t> frequencies_;
  std::vector<uint32_t> copy_;
};

// The sizes of tables to try, best for speed first.
std::vector<int> table_sizes(const PaletteSpec& spec) {
  const int symbol_bits = value_bits(spec.num_clusters);
  if (symbol_bits > 8) return {kMaxProbabilityBits};
  const int packed = std::min((32 - symbol_bits) / 2, kMaxProbabilityBits);
  std::vector<int> sizes{12};
  if (packed > 12) sizes.push_back(packed);
  if (packed < kMaxProbabilityBits && spec.num_weights <= kAnyTableWeights) {
    sizes.push_back(kMaxProbabilityBits);
  }
  return sizes;
}

}  // namespace

std::vector<uint64_t> count_symbols(const PaletteSpec& spec, const PaletteModel& model) {
  std::vector<uint64_t> counts(size_t{model.num_contexts()} * spec.num_clusters, 0);
  PaletteContexts contexts(model, 0);
  for (uint64_t at = 0; at < spec.num_weights; at += kBlockWeights) {
    const uint32_t count =
        static_cast<uint32_t>(std::min<uint64_t>(kBlockWeights, spec.num_weights - at));
    const uint8_t* context = contexts.read(count);
    const uint16_t* codes = spec.codes + at;
    for (uint32_t i = 0; i < count; ++i) {
      ++counts[size_t{context ? context[i] : 0U} * spec.num_clusters + codes[i]];
    }
  }
  return counts;
}

PaletteFit fit_shares(const PaletteSpec& spec, const PaletteModel& model, bool thorough) {
  const std::vector<uint64_t> counts = count_symbols(spec, model);
  PaletteFit best;
  uint64_t best_bits = UINT64_MAX;
  for (const int probability_bits : table_sizes(spec)) {
    const int first = thorough ? 0 : kUsualPrecision;
    const int last = thorough ? kMostPrecision : kUsualPrecision;
    for (int precision = first; precision <= last; ++precision) {
      for (const int scale_bits : {probability_bits, 10, 7}) {
        if (!thorough && scale_bits != probability_bits) continue;
        PaletteFit fit;
        fit.model = model;
        fit.model.precision = precision;
        fit.probability_bits = probability_bits;
        fit.symbol_bits =
            TableFitter(counts, spec.num_clusters, probability_bits, precision, scale_bits)
                .fit(&fit.model.shares);
        if (fit.symbol_bits >= best_bits) continue;  // also where there are no frequencies
        RangeEncoder encoder;
        code_model(&encoder, spec.num_weights, spec.num_clusters, &fit.model);
        fit.side = encoder.finish();
        uint64_t bits = fit.total_bits();
        if (probability_bits > 12 && spec.num_weights >= kSmallTableWeights) bits += bits / 256;
        if (bits < best_bits) {
          best_bits = bits;
          best = fit;
        }
      }
    }
  }
  return best;
}

PaletteFit fit_palette(const PaletteSpec& spec) {
  PaletteFit best = fit_shares(spec, PaletteModel(), true);
  if (spec.num_clusters == 1) return best;
  for (const uint64_t row_length : spec.row_lengths) {
    if (row_length < 1 || row_length > spec.num_weights) continue;
    const PaletteModel model = fit_classes(spec, static_cast<uint32_t>(row_length));
    if (model.num_contexts() == 1) continue;
    PaletteFit fit = fit_shares(spec, model, true);
    if (fit.total_bits() < best.total_bits()) best = std::move(fit);
  }
  return best;
}

}  // namespace wl
