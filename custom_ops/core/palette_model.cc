#include "core/palette_model.h"

#include <algorithm>

namespace wl {
namespace {

constexpr int kNumberBits = 32;
constexpr int kNumDeltas = 24;

template <typename Coder>
class ModelCoder {
 public:
  ModelCoder(Coder* coder, uint64_t num_weights, uint32_t num_symbols, PaletteModel* model)
      : coder_(*coder), num_weights_(num_weights), num_symbols_(num_symbols), model_(*model) {}

  const char* run() {
    uint32_t rows = model_.num_row_classes - 1;
    uint32_t columns = model_.num_column_classes - 1;
    uint32_t precision = static_cast<uint32_t>(model_.precision);
    coder_.raw(3, &rows);
    coder_.raw(3, &columns);
    coder_.raw(3, &precision);
    model_.num_row_classes = rows + 1;
    model_.num_column_classes = columns + 1;
    model_.precision = static_cast<int>(precision);
    if (rows != 0 || columns != 0) {
      code_number(&model_.row_length);
      if (model_.row_length < 1 || model_.row_length > num_weights_) {
        return "the row length must be from 1 to the number of weights";
      }
      const uint64_t num_rows = (num_weights_ + model_.row_length - 1) / model_.row_length;
      if ((rows != 0 && num_rows > kMaxClassedLines) ||
          (columns != 0 && model_.row_length > kMaxClassedLines)) {
        return "an axis with classes must have at most 2^20 lines";
      }
      if (rows != 0) code_classes(static_cast<uint32_t>(num_rows), rows, &model_.row_classes);
      if (columns != 0) code_classes(model_.row_length, columns, &model_.column_classes);
    }
    code_shares();
    return nullptr;
  }

 private:
  // A number of up to 32 bits: how many it has, and those below the highest.
  void code_number(uint32_t* number) {
    uint32_t length = static_cast<uint32_t>(bit_length(*number));
    coder_.raw(6, &length);
    length = std::min<uint32_t>(length, kNumberBits);
    code_below(static_cast<int>(length), kNumberBits, number);
  }

  // The `precision` bits below the highest one of a number that is `length` bits long.
  void code_below(int length, int precision, uint32_t* number) {
    if (length == 0) {
      if (Coder::kDecodes) *number = 0;
      return;
    }
    const int sent = std::min(length - 1, precision);
    const int left = length - 1 - sent;
    uint32_t below = Coder::kDecodes ? 0 : (*number >> left) & ((1U << sent) - 1);
    if (sent > 0) coder_.raw(sent, &below);
    if (Coder::kDecodes) *number = (1U << (length - 1)) | (below << left);
  }

  // Each class with the one before as its context, as a path of three bits at most.
  void code_classes(uint32_t count, uint32_t largest, std::vector<uint8_t>* classes) {
    if (Coder::kDecodes) classes->assign(count, 0);
    const int depth = bit_length(largest);
    std::vector<BitModel> models(kMaxAxisClasses * kMaxAxisClasses);
    uint32_t before = 0;
    for (uint8_t& one : *classes) {
      uint32_t node = 1;
      for (int i = depth - 1; i >= 0; --i) {
        bool bit = (one >> i & 1) != 0;
        coder_.bit(&models[before * kMaxAxisClasses + node], &bit);
        node = 2 * node + uint32_t{bit};
      }
      one = static_cast<uint8_t>(std::min(node - (1U << depth), largest));
      before = one;
    }
  }

  void code_shares() {
    const uint32_t num_contexts = model_.num_contexts();
    if (Coder::kDecodes) model_.shares.assign(size_t{num_contexts} * num_symbols_, 0);
    uint32_t* first = model_.shares.data();
    uint32_t mode = 0;
    for (uint32_t context = 0; context < num_contexts; ++context) {
      uint32_t* shares = first + size_t{context} * num_symbols_;
      if (context == 0) {
        code_table(shares, nullptr);
        mode = mode_symbol(model_.shares, num_symbols_);
        continue;
      }
      const uint32_t* before = shares - num_symbols_;
      bool is_copy = !Coder::kDecodes && is_copy_of(shares, before, mode);
      coder_.bit(&copy_model_, &is_copy);
      if (!is_copy) {
        code_table(shares, before);
        continue;
      }
      if (Coder::kDecodes) {
        std::copy(before, before + num_symbols_, shares);
      }
      code_share(bit_length(before[mode]), mode_precision(model_.precision), &mode_models_,
                 shares + mode);
    }
  }

  bool is_copy_of(const uint32_t* shares, const uint32_t* before, uint32_t mode) const {
    for (uint32_t s = 0; s < num_symbols_; ++s) {
      if (s != mode && shares[s] != before[s]) return false;
    }
    return true;
  }

  // The length of each share as the difference from the expected one: that of the symbol before,
  // or of the same symbol in the context before, moved as the symbol before moved.
  void code_table(uint32_t* shares, const uint32_t* before) {
    int moved = 0;
    for (uint32_t s = 0; s < num_symbols_; ++s) {
      const int base = before != nullptr ? bit_length(before[s]) : 0;
      const int expected = std::min(std::max(base + moved, 0), kMaxShareBits);
      code_share(expected, model_.precision, &table_models_[before != nullptr], shares + s);
      moved = bit_length(shares[s]) - base;
    }
  }

  struct ShareModels {
    BitModel differs[3];
    BitModel sign[3];
    BitModel more[3][kNumDeltas];
    int last = 0;  // 0: the last one was as expected, 1: it was shorter, 2: longer
  };

  void code_share(int expected, int precision, ShareModels* models, uint32_t* share) {
    const int delta = Coder::kDecodes ? 0 : bit_length(*share) - expected;
    const int last = models->last;
    bool differs = delta != 0;
    bool is_longer = delta > 0;
    int size = 0;
    // At a border there is one direction only.
    coder_.bit(&models->differs[last], &differs);
    if (differs) {
      if (expected == 0) {
        is_longer = true;
      } else if (expected == kMaxShareBits) {
        is_longer = false;
      } else {
        coder_.bit(&models->sign[last], &is_longer);
      }
      const int most = is_longer ? kMaxShareBits - expected : expected;
      const int wanted = delta < 0 ? -delta : delta;
      for (size = 1; size < most; ++size) {
        bool more = size < wanted;
        coder_.bit(&models->more[is_longer][size], &more);
        if (!more) break;
      }
    }
    models->last = !differs ? 0 : is_longer ? 2 : 1;
    code_below(is_longer ? expected + size : expected - size, precision, share);
  }

  Coder& coder_;
  const uint64_t num_weights_;
  const uint32_t num_symbols_;
  PaletteModel& model_;
  BitModel copy_model_;
  ShareModels table_models_[2];
  ShareModels mode_models_;
};

}  // namespace

int bit_length(uint32_t value) {
  int length = 0;
  for (; value != 0; value >>= 1) ++length;
  return length;
}

uint32_t round_share(uint32_t share, int precision) {
  const int left = std::max(0, bit_length(share) - 1 - precision);
  return share >> left << left;
}

int mode_precision(int precision) { return precision + 3; }

uint32_t mode_symbol(const std::vector<uint32_t>& shares, uint32_t num_symbols) {
  const auto first = shares.begin();
  return static_cast<uint32_t>(std::max_element(first, first + num_symbols) - first);
}

const char* code_model(RangeEncoder* coder, uint64_t num_weights, uint32_t num_symbols,
                       PaletteModel* model) {
  return ModelCoder<RangeEncoder>(coder, num_weights, num_symbols, model).run();
}

const char* code_model(RangeDecoder* coder, uint64_t num_weights, uint32_t num_symbols,
                       PaletteModel* model) {
  return ModelCoder<RangeDecoder>(coder, num_weights, num_symbols, model).run();
}

bool to_frequencies(const uint32_t* shares, uint32_t num_symbols, int probability_bits,
                    uint32_t* frequencies) {
  uint64_t total = 0;
  uint32_t num_used = 0;
  for (uint32_t s = 0; s < num_symbols; ++s) {
    if (shares[s] == 0) continue;
    total += shares[s] - 1;
    ++num_used;
  }
  const uint32_t all = 1U << probability_bits;
  if (num_used == 0 || num_used > all) return false;
  uint32_t left = all;
  uint32_t largest = 0;
  for (uint32_t s = 0; s < num_symbols; ++s) {
    frequencies[s] = 0;
    if (shares[s] == 0) continue;
    const uint64_t part = uint64_t{shares[s] - 1} * (all - num_used);
    frequencies[s] = 1 + static_cast<uint32_t>(total == 0 ? 0 : part / total);
    left -= frequencies[s];
    if (shares[s] > shares[largest]) largest = s;
  }
  frequencies[largest] += left;
  return true;
}

}  // namespace wl
