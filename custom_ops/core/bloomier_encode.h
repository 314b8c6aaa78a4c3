// Constructs a Bloomier filter: the payload of a blob.
#ifndef WL_CORE_BLOOMIER_ENCODE_H_
#define WL_CORE_BLOOMIER_ENCODE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/bloomier_blob.h"
#include "core/status.h"

namespace wl {

// Keys to a block that construction aims at: a table of some 5 KiB at 9 bits.
constexpr uint64_t kKeysPerBlock = 4096;
// Seeds that are tried for a block before construction gives up.
constexpr uint32_t kMaxAttempts = 256;

struct BloomierSpec {
  uint64_t num_weights = 0;
  const uint32_t* indices = nullptr;  // [num_keys], strictly ascending, below num_weights
  const uint16_t* values = nullptr;   // [num_keys], below num_clusters
  uint64_t num_keys = 0;
  const float* codebook = nullptr;  // [num_clusters], finite (as float16 too, where so stored)
  uint32_t num_clusters = 0;
  int bits = 0;                      // of a cell; prefix: not used
  const uint8_t* lengths = nullptr;  // prefix: [num_clusters], bits of each centroid's code
  Layout layout = Layout::kRibbon;
  Hash hash = Hash::kTabulation;
  CodebookType codebook_type = CodebookType::kFloat16;
  uint32_t seed = 0;
};

// Writes a blob without its last 16 bytes, the checksum. The same spec gives the same bytes,
// whatever the number of threads. Errors: kInvalidArgument for a spec that breaks a rule above;
// kFailed where a block has no table with any of kMaxAttempts seeds; kOutOfMemory.
Status encode_bloomier(const BloomierSpec& spec, uint32_t num_threads, std::vector<uint8_t>* bytes);

}  // namespace wl

#endif  // WL_CORE_BLOOMIER_ENCODE_H_
