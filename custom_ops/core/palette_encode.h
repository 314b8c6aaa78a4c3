// Writes palette blobs.
#ifndef WL_CORE_PALETTE_ENCODE_H_
#define WL_CORE_PALETTE_ENCODE_H_

#include <cstdint>
#include <vector>

#include "core/codebook.h"
#include "core/status.h"

namespace wl {

struct PaletteSpec {
  uint64_t num_weights = 0;
  const uint16_t* codes = nullptr;  // [num_weights], below num_clusters
  const float* codebook = nullptr;  // [num_clusters], finite (as float16 too, where so stored)
  uint32_t num_clusters = 0;
  CodebookType codebook_type = CodebookType::kFloat16;
  // Of matrices whose rows and columns may differ in their statistics; the best is taken. Those
  // that are 0 or longer than the tensor have none.
  std::vector<uint64_t> row_lengths;
};

// Writes a blob without its last 16 bytes, the checksum. The same spec gives the same bytes on
// every machine, whatever the number of threads. Errors: kInvalidArgument for a spec that breaks a
// rule above; kOutOfMemory.
Status encode_palette(const PaletteSpec& spec, uint32_t num_threads, std::vector<uint8_t>* bytes);

// Appends the codebook in the shorter of its two forms, and says in the payload's first byte, byte
// `scheme_at` of `bytes`, which form and type that is.
void append_palette_codebook(const float* codebook, uint32_t num_clusters, CodebookType type,
                             size_t scheme_at, std::vector<uint8_t>* bytes);

}  // namespace wl

#endif  // WL_CORE_PALETTE_ENCODE_H_
