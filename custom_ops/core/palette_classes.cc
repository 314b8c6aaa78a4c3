#include "core/palette_classes.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "core/fixed_log.h"
#include "core/palette_fit.h"

namespace wl {
namespace {

// Symbols are told apart by frequency alone when lines are compared: the most frequent one, and
// the others in groups of about the same weight.
constexpr uint32_t kGroups = 4;
constexpr uint32_t kNumClassCounts = 6;
constexpr uint32_t kClassCounts[kNumClassCounts] = {1, 2, 3, 4, 6, 8};
constexpr int kMaxRounds = 12;

std::vector<uint8_t> group_symbols(const PaletteSpec& spec) {
  const std::vector<uint64_t> counts = count_symbols(spec, PaletteModel());
  std::vector<uint32_t> order(spec.num_clusters);
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return counts[a] > counts[b]; });
  const uint64_t others = spec.num_weights - counts[order[0]];
  std::vector<uint8_t> groups(spec.num_clusters, 0);
  uint64_t seen = 0;
  for (size_t i = 1; i < order.size(); ++i) {
    const uint64_t group = others == 0 ? 0 : seen * (kGroups - 1) / others;
    groups[order[i]] = static_cast<uint8_t>(1 + std::min<uint64_t>(group, kGroups - 2));
    seen += counts[order[i]];
  }
  return groups;
}

// Lines of one axis: how often each group of symbols stands in each, apart for the classes of the
// other axis ("blocks").
struct Lines {
  uint32_t count = 0;
  uint32_t num_blocks = 1;
  std::vector<uint32_t> counts;  // [line][block][group]

  size_t width() const { return size_t{num_blocks} * kGroups; }
  const uint32_t* line(uint32_t index) const { return counts.data() + index * width(); }
};

// k-means with the bits of a line's symbols and of its class as the distance.
class LineClusterer {
 public:
  LineClusterer(const Lines& lines, uint32_t num_classes)
      : lines_(lines), num_classes_(num_classes), classes_(lines.count, 0) {}

  std::vector<uint8_t> run() {
    start();
    for (int round = 0; round < kMaxRounds; ++round) {
      measure();
      if (!assign()) break;
    }
    sort();
    return classes_;
  }

 private:
  uint64_t mode_share(uint32_t index) const {
    const uint32_t* line = lines_.line(index);
    uint64_t mode = 0;
    uint64_t all = 0;
    for (size_t i = 0; i < lines_.width(); ++i) {
      all += line[i];
      if (i % kGroups == 0) mode += line[i];
    }
    return all == 0 ? 0 : (mode << 30) / all;
  }

  // As many lines to each class, by the share of the most frequent symbol.
  void start() {
    std::vector<std::pair<uint64_t, uint32_t>> order(lines_.count);
    for (uint32_t i = 0; i < lines_.count; ++i) order[i] = {mode_share(i), i};
    std::sort(order.begin(), order.end());
    for (size_t i = 0; i < order.size(); ++i) {
      classes_[order[i].second] = static_cast<uint8_t>(i * num_classes_ / order.size());
    }
  }

  // The cost of each group in each class, and of each class behind another.
  void measure() {
    const size_t width = lines_.width();
    std::vector<uint64_t> sums(num_classes_ * width, 0);
    std::vector<uint64_t> moves(size_t{num_classes_} * num_classes_, 1);
    uint32_t before = 0;
    for (uint32_t i = 0; i < lines_.count; ++i) {
      const uint32_t* line = lines_.line(i);
      uint64_t* sum = sums.data() + classes_[i] * width;
      for (size_t d = 0; d < width; ++d) sum[d] += line[d];
      ++moves[before * num_classes_ + classes_[i]];
      before = classes_[i];
    }
    costs_.resize(sums.size());
    for (size_t first = 0; first < sums.size(); first += kGroups) {
      to_costs(sums.data() + first, kGroups, costs_.data() + first);
    }
    move_costs_.resize(moves.size());
    for (size_t first = 0; first < moves.size(); first += num_classes_) {
      to_costs(moves.data() + first, num_classes_, move_costs_.data() + first);
    }
  }

  void to_costs(const uint64_t* counts, uint32_t size, uint32_t* costs) const {
    const uint64_t all = std::max<uint64_t>(1, std::accumulate(counts, counts + size, uint64_t{0}));
    const uint64_t room = (1U << kFixedLogBits) - size;
    for (uint32_t i = 0; i < size; ++i) {
      const uint32_t frequency = 1 + static_cast<uint32_t>(counts[i] * room / all);
      costs[i] = symbol_cost(logs_, frequency, kFixedLogBits);
    }
  }

  // Whether a line has changed its class.
  bool assign() {
    const size_t width = lines_.width();
    bool changed = false;
    uint32_t before = 0;
    for (uint32_t i = 0; i < lines_.count; ++i) {
      const uint32_t* line = lines_.line(i);
      uint64_t least = UINT64_MAX;
      uint8_t best = 0;
      for (uint32_t k = 0; k < num_classes_; ++k) {
        uint64_t cost = move_costs_[before * num_classes_ + k];
        const uint32_t* costs = costs_.data() + k * width;
        for (size_t d = 0; d < width; ++d) cost += uint64_t{line[d]} * costs[d];
        if (cost < least) {
          least = cost;
          best = static_cast<uint8_t>(k);
        }
      }
      changed |= best != classes_[i];
      classes_[i] = best;
      before = best;
    }
    return changed;
  }

  // Classes by falling density, so that neighbours are alike.
  void sort() {
    std::vector<std::array<uint64_t, 2>> sums(num_classes_, {0, 0});
    for (uint32_t i = 0; i < lines_.count; ++i) {
      const uint32_t* line = lines_.line(i);
      for (size_t d = 0; d < lines_.width(); ++d) {
        sums[classes_[i]][0] += d % kGroups == 0 ? line[d] : 0;
        sums[classes_[i]][1] += line[d];
      }
    }
    std::vector<std::pair<uint64_t, uint8_t>> order;
    for (uint32_t k = 0; k < num_classes_; ++k) {
      order.push_back(
          {(sums[k][0] << 24) / std::max<uint64_t>(1, sums[k][1]), static_cast<uint8_t>(k)});
    }
    std::sort(order.begin(), order.end());
    std::vector<uint8_t> place(num_classes_);
    for (uint32_t k = 0; k < num_classes_; ++k) place[order[k].second] = static_cast<uint8_t>(k);
    for (uint8_t& one : classes_) one = place[one];
  }

  const Lines& lines_;
  const uint32_t num_classes_;
  const uint32_t* logs_ = fixed_log2_table();
  std::vector<uint8_t> classes_;
  std::vector<uint32_t> costs_;       // [class][block][group]
  std::vector<uint32_t> move_costs_;  // [class before][class]
};

enum class Axis { kRows, kColumns };

class ClassSearch {
 public:
  ClassSearch(const PaletteSpec& spec, uint32_t row_length)
      : spec_(spec),
        groups_(group_symbols(spec)),
        row_length_(row_length),
        num_rows_((spec.num_weights + row_length_ - 1) / row_length_) {}

  PaletteModel run() {
    const PaletteFit plain = fit_shares(spec_, PaletteModel(), false);
    best_ = plain.model;
    best_bits_ = plain.total_bits();
    PaletteModel starts[2];
    improve(Axis::kRows, &starts[0]);
    improve(Axis::kColumns, &starts[1]);
    improve(Axis::kColumns, &starts[0]);
    improve(Axis::kRows, &starts[1]);
    PaletteModel last = best_;
    improve(Axis::kRows, &last);
    improve(Axis::kColumns, &last);
    if (best_.num_contexts() == 1) return PaletteModel();
    return best_;
  }

 private:
  bool may_have_classes(Axis axis) const {
    const uint64_t lines = axis == Axis::kRows ? num_rows_ : row_length_;
    const uint64_t width = axis == Axis::kRows ? row_length_ : num_rows_;
    return lines > 1 && width > 1 && lines <= kMaxClassedLines;
  }

  // Tries every number of classes for one axis, with those of the other axis as they are in
  // `model`, which becomes the best of them.
  void improve(Axis axis, PaletteModel* model) {
    if (!may_have_classes(axis)) return;
    const Lines lines = count_lines(axis, *model);
    PaletteModel found = *model;
    uint64_t found_bits = UINT64_MAX;
    for (const uint32_t num_classes : kClassCounts) {
      if (num_classes > lines.count) break;
      PaletteModel candidate = *model;
      set_classes(axis, LineClusterer(lines, num_classes).run(), num_classes, &candidate);
      const PaletteFit fit = fit_shares(spec_, candidate, false);
      const uint64_t bits = fit.total_bits();
      if (bits < found_bits) {
        found_bits = bits;
        found = candidate;
      }
      if (bits < best_bits_) {
        best_bits_ = bits;
        best_ = candidate;
      }
    }
    *model = found;
  }

  void set_classes(Axis axis, std::vector<uint8_t> classes, uint32_t num_classes,
                   PaletteModel* model) const {
    if (num_classes == 1) classes.clear();
    if (axis == Axis::kRows) {
      model->row_classes = std::move(classes);
      model->num_row_classes = num_classes;
    } else {
      model->column_classes = std::move(classes);
      model->num_column_classes = num_classes;
    }
    model->row_length = model->num_contexts() == 1 ? 0 : row_length_;
  }

  Lines count_lines(Axis axis, const PaletteModel& model) const {
    const bool by_row = axis == Axis::kRows;
    const std::vector<uint8_t>& others = by_row ? model.column_classes : model.row_classes;
    Lines lines;
    lines.count = by_row ? static_cast<uint32_t>(num_rows_) : row_length_;
    lines.num_blocks = by_row ? model.num_column_classes : model.num_row_classes;
    lines.counts.assign(lines.count * lines.width(), 0);
    const uint16_t* code = spec_.codes;
    const uint16_t* const end = code + spec_.num_weights;
    for (uint64_t row = 0; row < num_rows_; ++row) {
      for (uint32_t column = 0; column < row_length_ && code != end; ++column, ++code) {
        const uint64_t line = by_row ? row : column;
        const uint64_t other = by_row ? column : row;
        const uint32_t block = others.empty() ? 0 : others[other];
        ++lines.counts[line * lines.width() + block * kGroups + groups_[*code]];
      }
    }
    return lines;
  }

  const PaletteSpec& spec_;
  const std::vector<uint8_t> groups_;
  const uint32_t row_length_;
  const uint64_t num_rows_;
  PaletteModel best_;
  uint64_t best_bits_ = 0;
};

}  // namespace

PaletteModel fit_classes(const PaletteSpec& spec, uint32_t row_length) {
  return ClassSearch(spec, row_length).run();
}

}  // namespace wl
