// The ribbon layout: a banded linear system over GF(2), one solution for each bit-plane.
// Dillinger, Hübschle-Schneider, Sanders, Walzer, "Fast succinct retrieval and approximate
// membership using ribbon", SEA 2022; starts at multiples of eight rows, so that a query reads
// whole bytes.
#ifndef WL_CORE_RIBBON_TABLE_H_
#define WL_CORE_RIBBON_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/table_keys.h"

namespace wl {

// Bytes of a plane to try at one attempt, or 0 where so many keys fit in no table.
uint32_t ribbon_units(size_t num_keys, uint32_t attempt);

// The same for a level of a prefix code.
uint32_t level_units(size_t num_keys, uint32_t attempt);

// Memory that is used again from block to block.
struct RibbonScratch {
  std::vector<uint32_t> starts;         // [units]: how many keys start before
  std::vector<uint64_t> sorted_rows;    // [num_keys]
  std::vector<uint32_t> sorted_starts;  // [num_keys]
  std::vector<uint16_t> sorted_values;  // [num_keys]
  std::vector<uint64_t> rows;           // [8 * units]; bit 0 is set in every row in use
  std::vector<uint16_t> values;         // [8 * units]
};

// Solves for keys[0:num_keys] and writes `bits` planes of `units` bytes each, the highest plane
// first. False, with `planes` untouched, where the system has no solution.
// Throws std::bad_alloc.
bool build_ribbon(const TableKey* keys, size_t num_keys, int bits, uint32_t units,
                  RibbonScratch* scratch, uint8_t* planes);

}  // namespace wl

#endif  // WL_CORE_RIBBON_TABLE_H_
