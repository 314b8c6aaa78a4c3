#include "core/ribbon_table.h"

#include <algorithm>

#include "core/bloomier_blob.h"

namespace wl {
namespace {

// Rows beyond the number of keys, and how they grow with the attempts. Measured on blocks of 4,096
// random keys: keys + 56 rows solve at 20 % of the attempts, and an attempt costs some 20 ns a key,
// so that a small table is worth a few attempts more. Keys that fall on few starts need far more
// rows: from some attempt on the table grows by a share of the keys.
constexpr size_t kExtraRows = 56;
constexpr uint32_t kAttemptsPerByte = 6;
constexpr uint32_t kPatientAttempts = 48;
constexpr size_t kKeysPerExtraRow = 128;

// The same for a level of a prefix code, where each of many planes pays for its rows. A 160th of
// the keys more than there are solve 600 random keys at 30 % of the attempts, 2,400 at 10 % and
// 4,096 at 5 to 15 %.
constexpr size_t kKeysPerLevelRow = 160;
constexpr uint32_t kAttemptsPerLevelByte = 16;
constexpr uint32_t kPatientLevelAttempts = 64;

uint32_t units_of_rows(size_t rows) {
  const size_t units = (rows + 7) / 8;
  return units > 0xffffU ? 0 : static_cast<uint32_t>(std::max<size_t>(units, kBandBytes));
}

int count_trailing_zeros(uint64_t x) { return __builtin_ctzll(x); }

uint64_t coefficients(const TableKey& key) {
  return (uint64_t{key.hashes[2]} << 32) | key.hashes[1];
}

// Orders the keys by start, so that elimination works inside a band that moves through the cache.
void sort_keys(const TableKey* keys, size_t num_keys, uint32_t num_starts, RibbonScratch* scratch) {
  std::vector<uint32_t>& next = scratch->starts;
  next.assign(num_starts + 1, 0);
  for (size_t i = 0; i < num_keys; ++i) ++next[reduce_hash(keys[i].hashes[0], num_starts) + 1];
  for (uint32_t start = 0; start < num_starts; ++start) next[start + 1] += next[start];
  scratch->sorted_rows.resize(num_keys);
  scratch->sorted_starts.resize(num_keys);
  scratch->sorted_values.resize(num_keys);
  for (size_t i = 0; i < num_keys; ++i) {
    const uint32_t start = reduce_hash(keys[i].hashes[0], num_starts);
    const uint32_t at = next[start]++;
    scratch->sorted_rows[at] = coefficients(keys[i]);
    scratch->sorted_starts[at] = 8 * start;
    scratch->sorted_values[at] = keys[i].target;
  }
}

// Brings the system to echelon form: the row at r has coefficient 1 at r and others after it.
bool eliminate(size_t num_keys, RibbonScratch* scratch) {
  for (size_t i = 0; i < num_keys; ++i) {
    uint64_t row = scratch->sorted_rows[i];
    uint16_t value = scratch->sorted_values[i];
    size_t at = scratch->sorted_starts[i];
    for (;;) {
      if (row == 0) {
        if (value != 0) return false;
        break;  // follows from the rows before it
      }
      const int zeros = count_trailing_zeros(row);
      row >>= zeros;
      at += static_cast<size_t>(zeros);
      if (scratch->rows[at] == 0) {
        scratch->rows[at] = row;
        scratch->values[at] = value;
        break;
      }
      row ^= scratch->rows[at];
      value = static_cast<uint16_t>(value ^ scratch->values[at]);
    }
  }
  return true;
}

// From the last row up; rows not in use are free and become 0.
void substitute_back(int plane_bit, uint32_t units, const RibbonScratch& scratch, uint8_t* plane) {
  uint64_t solved = 0;  // bit i: the solution i rows after the one at hand
  for (uint32_t byte = units; byte-- > 0;) {
    for (uint32_t bit = 8; bit-- > 0;) {
      const size_t at = 8 * size_t{byte} + bit;
      solved <<= 1;
      const uint64_t row = scratch.rows[at];
      const uint64_t wanted = (scratch.values[at] >> plane_bit) & 1U;
      const uint64_t others = static_cast<uint64_t>(__builtin_parityll(row & solved));
      solved |= row == 0 ? 0 : wanted ^ others;
    }
    plane[byte] = static_cast<uint8_t>(solved & 0xffU);
  }
}

}  // namespace

uint32_t ribbon_units(size_t num_keys, uint32_t attempt) {
  size_t rows = num_keys + kExtraRows + 8 * size_t{attempt / kAttemptsPerByte};
  if (attempt > kPatientAttempts) {
    rows += num_keys * (attempt - kPatientAttempts) / kKeysPerExtraRow;
  }
  return units_of_rows(rows);
}

uint32_t level_units(size_t num_keys, uint32_t attempt) {
  size_t rows =
      num_keys + num_keys / kKeysPerLevelRow + 8 * size_t{attempt / kAttemptsPerLevelByte};
  if (attempt > kPatientLevelAttempts) {
    rows += num_keys * (attempt - kPatientLevelAttempts) / kKeysPerExtraRow;
  }
  return units_of_rows(rows);
}

bool build_ribbon(const TableKey* keys, size_t num_keys, int bits, uint32_t units,
                  RibbonScratch* scratch, uint8_t* planes) {
  sort_keys(keys, num_keys, units - (kBandBytes - 1), scratch);
  scratch->rows.assign(8 * size_t{units}, 0);
  scratch->values.assign(8 * size_t{units}, 0);
  if (!eliminate(num_keys, scratch)) return false;
  for (int bit = bits - 1; bit >= 0; --bit, planes += units) {
    substitute_back(bit, units, *scratch, planes);
  }
  return true;
}

}  // namespace wl
