// The xor layout: three cells to a key, one in each third of the table, solved by peeling.
// Chazelle, Kilian, Rubinfeld, Tal, "The Bloomier filter", SODA 2004; as in Graf and Lemire, "Xor
// filters", JEA 2020.
#ifndef WL_CORE_XOR_TABLE_H_
#define WL_CORE_XOR_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/table_keys.h"

namespace wl {

// Cells of a segment to try at one attempt, or 0 where so many keys fit in no table.
uint32_t xor_segment(size_t num_keys, uint32_t attempt);

// Memory that is used again from block to block.
struct XorScratch {
  struct Cell {
    uint32_t num_keys;
    uint32_t key_xor;  // the keys of the cell, all of their numbers combined by xor
  };
  std::vector<Cell> cells;           // [3 * segment]
  std::vector<uint32_t> positions;   // [3 * num_keys]
  std::vector<uint32_t> queue;       // cells with one key left
  std::vector<uint32_t> order;       // keys as they were peeled
  std::vector<uint32_t> order_cell;  // the cell that each was alone in
  std::vector<uint16_t> solution;    // [3 * segment]
};

// Solves for keys[0:num_keys] and packs 3 * segment cells of `bits` bits each, least significant
// first, into table_bytes(...) bytes. False, with `packed` untouched, where peeling gets stuck.
// Throws std::bad_alloc.
bool build_xor(const TableKey* keys, size_t num_keys, int bits, uint32_t segment,
               XorScratch* scratch, uint8_t* packed);

}  // namespace wl

#endif  // WL_CORE_XOR_TABLE_H_
