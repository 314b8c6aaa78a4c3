// A codebook as blobs store it.
#ifndef WL_CORE_CODEBOOK_H_
#define WL_CORE_CODEBOOK_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/byte_reader.h"
#include "core/status.h"

namespace wl {

// How centroids are stored, in ONNX's numbers for element types.
enum class CodebookType : uint8_t { kFloat32 = 1, kFloat16 = 10 };

constexpr uint32_t kMaxClusters = 4096;

// Bits that a centroid's index needs: ceil(log2(num_clusters)).
int value_bits(uint32_t num_clusters);

// Reads `num_clusters` centroids. Offsets in messages count from `base` bytes before the reader's
// first byte. Errors: kDamaged where bytes are missing or a centroid is not finite.
Status read_codebook(ByteReader* reader, CodebookType type, uint32_t num_clusters, size_t base,
                     std::vector<float>* codebook);

// Errors: kInvalidArgument where a centroid is not finite as it is stored.
Status check_centroids(const float* codebook, uint32_t num_clusters, CodebookType type);

// Appends the centroids as they are stored.
void append_codebook(const float* codebook, uint32_t num_clusters, CodebookType type,
                     std::vector<uint8_t>* bytes);

}  // namespace wl

#endif  // WL_CORE_CODEBOOK_H_
