// The hot loops, one set for each CPU target. Plain structs and function pointers only: a file
// compiled for one CPU must not include inline library code.
#ifndef WL_CORE_KERNELS_KERNEL_H_
#define WL_CORE_KERNELS_KERNEL_H_

#include <stdint.h>

#include "core/kernels/noise_kernel.h"
#include "core/kernels/response_kernel.h"

namespace wl {

// Slots of a group (a permutation of its lanes), and the bunches of eight slots that share the
// places they look at; see bloomier_hash.h.
constexpr uint32_t kSlots = 1024;
constexpr uint32_t kBunchSlots = 8;
constexpr uint32_t kBunches = kSlots / kBunchSlots;

// Asks a ribbon for all slots of a group. Coefficients of a slot: 64 bits, of which the lower half
// is low[slot] + low_offset and the upper one high[slot] + high_offset; its mask is (lower + upper)
// >> 16.
struct RibbonQuery {
  const uint32_t* low;
  const uint32_t* high;
  uint32_t low_offset;
  uint32_t high_offset;
  uint32_t phase;         // where the first bunch starts, as a share of 2^32; others follow evenly
  const uint8_t* planes;  // [bits][plane_bytes], the highest plane first
  uint32_t plane_bytes;   // at least 8
  int bits;
  int value_bits;
  uint32_t num_clusters;
};

// The planes of a prefix code that the same keys take part in. A slot's answer is 16 bits, the
// first plane in the highest. A level of more planes than kLevelPlanes is split into several, of
// which only the last has codes of its own.
constexpr int kLevelPlanes = 8;
struct PrefixLevel {
  const uint8_t* planes;    // [num_planes][plane_bytes]
  const uint8_t* prepared;  // the same, in the form of the target, or null
  uint32_t plane_bytes;     // at least 8
  uint32_t phase;           // as in RibbonQuery
  int num_planes;
  int end;               // planes of this level and all before it
  uint32_t limit;        // answers below begin with a code of at most `end` bits,
  uint32_t open_limit;   // others below, by what is known of them, may begin with a longer one
  uint32_t rank_offset;  // added to the first `end` bits of an answer: the place of its code
};

// Asks the ribbons of a prefix code, level by level, for all slots of a group. The first level's
// ribbon is `top`: it has 16 bits, though fewer planes, and its value bits are those behind the
// planes that are 0 in all codes, of which there may be none.
struct PrefixQuery {
  RibbonQuery top;
  const PrefixLevel* levels;  // [num_levels], at least one; the first is that of `top`
  int num_levels;
  bool is_prepared;  // all levels that Kernel::prepared has bytes for
};

// Bytes of prepared planes that a query may have.
constexpr uint32_t kPreparedBytes = 1 << 15;

// Asks an xor table for all slots of a group. Bunch b looks at eight consecutive cells of each
// segment j, from bases[j][b] + base_offsets[j] on.
struct XorQuery {
  const uint32_t* bases[3];
  uint32_t base_offsets[3];
  const uint32_t* masks;
  uint32_t mask_offset;
  const uint16_t* cells;  // [3 * segment], unpacked
  uint32_t segment;       // at least 8
  int bits;
  uint32_t num_clusters;
};

// What a group's query found. A kernel may write past the accepted slots, and in the place of a
// slot that is not among them, or behind all of them, any code.
struct Hits {
  uint32_t count;
  alignas(64) uint16_t slots[kSlots + 32];  // the accepted ones
  alignas(64) uint16_t codes[kSlots + 1];   // by slot: the centroid
};

constexpr uint32_t kMaxRansLanes = 64;
// A lane whose state is below this takes a word where one is left.
constexpr uint32_t kRansLow = 1U << 16;

// Lanes of rANS that share the words of a chunk; see FORMAT.md and palette_blob.h for the tables.
struct RansStream {
  const uint32_t* packed;  // [context][slot], or null: the two below hold the same
  const uint16_t* symbols;
  const uint32_t* intervals;
  uint32_t num_symbols;
  int probability_bits;
  int symbol_bits;
  uint32_t num_lanes;    // a power of two
  const uint8_t* words;  // the next one
  const uint8_t* words_end;
  uint32_t states[kMaxRansLanes];
};

// Planes of a prefix code in the form that a target reads fastest.
struct PreparedPlanes {
  // For each byte of a plane, in the first level and in the others; 0: query_prefix needs none.
  uint32_t first_bytes;
  uint32_t lower_bytes;
  // The form of [num_planes][plane_bytes], of which num_planes is at most kLevelPlanes and
  // plane_bytes at least 8. Null where first_bytes is 0.
  void (*prepare)(const uint8_t* planes, uint32_t plane_bytes, int num_planes, uint8_t* prepared);
};

// Tensors of this size and more are written past the caches, which would not hold them anyway.
constexpr uint64_t kStreamedBytes = 8 << 20;

struct Kernel {
  const char* name;
  // words[i] = murmur3_32(first + i, seed) or, with an order, murmur3_32(first + order[i], seed).
  void (*hash_range)(uint32_t first, const uint16_t* order, uint32_t count, uint32_t seed,
                     uint32_t* words);
  // The cells of a packed table: `bits` bits each, least significant first. May read 7 bytes past
  // it.
  void (*unpack_cells)(const uint8_t* packed, uint32_t count, int bits, uint16_t* cells);
  void (*query_ribbon)(const RibbonQuery& query, Hits* hits);
  void (*query_prefix)(const PrefixQuery& query, Hits* hits);
  PreparedPlanes prepared;
  void (*query_xor)(const XorQuery& query, Hits* hits);
  // The next `count` symbols, the first one from lane 0; a call that another one follows takes a
  // multiple of the lanes. `contexts` [count], or null where all are 0.
  void (*decode_rans)(const uint8_t* contexts, uint32_t count, RansStream* stream,
                      uint16_t* symbols);
  // Copies past the caches, for output that is too large to stay in them.
  void (*stream)(const uint8_t* input, uint32_t num_bytes, uint8_t* output);
  const NoiseKernel* noise;
  const ResponseKernel* response;
};

extern const Kernel kKernelBaseline;
extern const Kernel kKernelAvx2;
extern const Kernel kKernelAvx512;

}  // namespace wl

#endif  // WL_CORE_KERNELS_KERNEL_H_
