// A parsed Bloomier-filter blob: every count and length in it has been checked.
#ifndef WL_CORE_BLOOMIER_BLOB_H_
#define WL_CORE_BLOOMIER_BLOB_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/codebook.h"
#include "core/status.h"

namespace wl {

enum class Layout : uint8_t { kRibbon = 1, kXor = 2 };
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
constexpr size_t kBlockHeaderBytes = 7;

struct BloomierBlock {
  uint64_t first_group;  // of the tensor
  uint64_t num_groups;   // at least 1
  uint32_t units;        // ribbon: rows / 8; xor: cells of one segment; 0: the block has no key
  uint32_t attempt;      // which seed of the sequence constructed it, 0 .. 255
  const uint8_t* table;  // table_bytes(...) bytes inside the blob
};

// Views into the blob's bytes, which must outlive it.
struct BloomierView {
  uint64_t num_weights = 0;
  uint32_t num_keys = 0;
  uint32_t num_clusters = 0;
  int bits = 0;
  Layout layout = Layout::kRibbon;
  Hash hash = Hash::kTabulation;
  CodebookType codebook_type = CodebookType::kFloat16;
  uint32_t seed = 0;
  std::vector<float> codebook;  // [num_clusters], finite
  std::vector<BloomierBlock> blocks;

  uint64_t num_groups() const { return (num_weights + kGroupSize - 1) / kGroupSize; }
};

// Parses and checks a whole blob (container, checksum, payload). On error `view` is unspecified.
// Errors: kDamaged with the byte offset in the text; kOutOfMemory.
Status parse_bloomier(const uint8_t* blob, size_t size, BloomierView* view);

// Bytes of one block's table.
uint64_t table_bytes(Layout layout, uint32_t units, int bits);

}  // namespace wl

#endif  // WL_CORE_BLOOMIER_BLOB_H_
