#include "core/xor_table.h"

#include <algorithm>

#include "core/bloomier_blob.h"
#include "core/kernels/kernel.h"

namespace wl {
namespace {

// Peeling three hashes succeeds above 1.2218 cells a key (Molloy 2005) and, for some thousand keys,
// nearly always at the xor filter's 1.23 n + 32 (Graf and Lemire 2020). Growth by attempts covers
// keys that the hash spreads unevenly.
// In thousandths and whole numbers, so that every compiler comes to the same size.
constexpr uint64_t kMilliCellsPerKey = 1230;
constexpr uint64_t kExtraMilliCells = 32'000;
constexpr uint64_t kMilliGrowthPerAttempt = 2;

void fill_cells(const TableKey* keys, size_t num_keys, uint32_t segment, XorScratch* scratch) {
  scratch->cells.assign(3 * size_t{segment}, XorScratch::Cell{0, 0});
  scratch->positions.resize(3 * num_keys);
  for (uint32_t i = 0; i < num_keys; ++i) {
    for (uint32_t j = 0; j < 3; ++j) {
      const uint32_t position =
          j * segment + reduce_hash(keys[i].hashes[j], segment - 7) + keys[i].place;
      scratch->positions[3 * i + j] = position;
      XorScratch::Cell& cell = scratch->cells[position];
      ++cell.num_keys;
      cell.key_xor ^= i;
    }
  }
}

bool peel(size_t num_keys, XorScratch* scratch) {
  std::vector<uint32_t>& queue = scratch->queue;
  queue.clear();
  scratch->order.clear();
  scratch->order_cell.clear();
  for (uint32_t at = 0; at < scratch->cells.size(); ++at) {
    if (scratch->cells[at].num_keys == 1) queue.push_back(at);
  }
  while (!queue.empty()) {
    const uint32_t alone = queue.back();
    queue.pop_back();
    if (scratch->cells[alone].num_keys != 1) continue;
    const uint32_t key = scratch->cells[alone].key_xor;
    scratch->order.push_back(key);
    scratch->order_cell.push_back(alone);
    for (uint32_t j = 0; j < 3; ++j) {
      const uint32_t at = scratch->positions[3 * key + j];
      XorScratch::Cell& cell = scratch->cells[at];
      cell.key_xor ^= key;
      if (--cell.num_keys == 1) queue.push_back(at);
    }
  }
  return scratch->order.size() == num_keys;
}

void assign_cells(const TableKey* keys, XorScratch* scratch) {
  std::vector<uint16_t>& solution = scratch->solution;
  solution.assign(scratch->cells.size(), 0);
  for (size_t i = scratch->order.size(); i-- > 0;) {
    const uint32_t key = scratch->order[i];
    const uint32_t* at = &scratch->positions[3 * size_t{key}];
    // The key's own cell is still 0, so it may stand in the sum.
    const int sum = keys[key].target ^ solution[at[0]] ^ solution[at[1]] ^ solution[at[2]];
    solution[scratch->order_cell[i]] = static_cast<uint16_t>(sum);
  }
}

void pack_cells(const std::vector<uint16_t>& cells, int bits, uint8_t* packed) {
  uint64_t pending = 0;
  int num_pending = 0;
  for (const uint16_t cell : cells) {
    pending |= uint64_t{cell} << num_pending;
    for (num_pending += bits; num_pending >= 8; num_pending -= 8, pending >>= 8) {
      *packed++ = static_cast<uint8_t>(pending & 0xffU);
    }
  }
  if (num_pending > 0) *packed = static_cast<uint8_t>(pending & 0xffU);
}

}  // namespace

uint32_t xor_segment(size_t num_keys, uint32_t attempt) {
  const uint64_t milli_cells =
      (kMilliCellsPerKey + kMilliGrowthPerAttempt * attempt) * uint64_t{num_keys} +
      kExtraMilliCells;
  const uint64_t segment = std::max<uint64_t>(milli_cells / 3000 + 1, kBunchSlots);
  return segment > kMaxXorSegment ? 0 : static_cast<uint32_t>(segment);
}

bool build_xor(const TableKey* keys, size_t num_keys, int bits, uint32_t segment,
               XorScratch* scratch, uint8_t* packed) {
  fill_cells(keys, num_keys, segment, scratch);
  if (!peel(num_keys, scratch)) return false;
  assign_cells(keys, scratch);
  pack_cells(scratch->solution, bits, packed);
  return true;
}

}  // namespace wl
