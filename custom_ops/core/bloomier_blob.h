// A parsed Bloomier-filter blob: every count and length in it has been checked.
#ifndef WL_CORE_BLOOMIER_BLOB_H_
#define WL_CORE_BLOOMIER_BLOB_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/codebook.h"
#include "core/prefix_code.h"
#include "core/status.h"

namespace wl {

enum class Layout : uint8_t { kRibbon = 1, kXor = 2, kPrefix = 3 };
enum class Hash : uint8_t { kTabulation = 1, kMurmur3 = 2 };

// A weight's index is 1024 * group + lane; a block is a run of whole groups.
constexpr uint32_t kGroupSize = 1024;
constexpr int kMaxBits = 16;

// Bytes that a ribbon's band of 64 coefficients addresses. A segment of an xor table has at least
// as many cells: one for each slot of a bunch.
constexpr uint32_t kBandBytes = 8;
// Cells of one of the three segments of an xor table: an unpacked table stays within 24 KiB.
constexpr uint32_t kMaxXorSegment = 4096;

constexpr size_t kBloomierHeaderBytes = 20;
// A block's header: its groups and, for each of its tables, its size and its attempt.
constexpr size_t kBlockGroupBytes = 4;
constexpr size_t kTableHeaderBytes = 3;

struct BloomierTable {
  uint32_t units;        // ribbon, prefix: rows / 8; xor: cells of one segment; 0: it has no key
  uint32_t attempt;      // which seed of the sequence constructed it, 0 .. 255
  const uint8_t* bytes;  // table_bytes(...) bytes inside the blob
};

struct BloomierBlock {
  uint64_t first_group;  // of the tensor
  uint64_t num_groups;   // at least 1
  size_t first_table;    // of view.tables
};

// Views into the blob's bytes, which must outlive it.
struct BloomierView {
  uint64_t num_weights = 0;
  uint32_t num_keys = 0;
  uint32_t num_clusters = 0;
  int bits = 0;  // of a cell; prefix: of the longest code
  Layout layout = Layout::kRibbon;
  Hash hash = Hash::kTabulation;
  CodebookType codebook_type = CodebookType::kFloat16;
  uint32_t seed = 0;
  // [num_clusters], finite, in the order of the codes: what a table answers is the place of an
  // entry, and code.order the number that it has in the blob. Ribbon, xor: the same.
  std::vector<float> codebook;
  PrefixCode code;  // prefix only
  std::vector<BloomierBlock> blocks;
  std::vector<BloomierTable> tables;  // of all blocks: one each; prefix: one for each level

  size_t tables_per_block() const { return layout == Layout::kPrefix ? code.levels.size() : 1; }
  // Planes of a block's i-th table.
  int table_planes(size_t i) const {
    if (layout != Layout::kPrefix) return bits;
    return code.levels[i].length - (i > 0 ? code.levels[i - 1].length : 0);
  }
  // The number of a codebook entry in the blob.
  uint32_t centroid_number(uint32_t place) const {
    return layout == Layout::kPrefix ? code.order[place] : place;
  }
  uint64_t num_groups() const { return (num_weights + kGroupSize - 1) / kGroupSize; }
};

// Parses and checks a whole blob (container, checksum, payload). On error `view` is unspecified.
// Errors: kDamaged with the byte offset in the text; kOutOfMemory.
Status parse_bloomier(const uint8_t* blob, size_t size, BloomierView* view);

// Bytes of one table of `bits` planes or of cells of as many bits.
uint64_t table_bytes(Layout layout, uint32_t units, int bits);

}  // namespace wl

#endif  // WL_CORE_BLOOMIER_BLOB_H_
