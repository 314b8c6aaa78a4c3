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

// Centroids at even distances: centroid j is step * (j - origin), rounded to float32 and then to
// the type that they are stored in.
struct RegularCodebook {
  float step = 0;
  int32_t origin = 0;  // -32,768 .. 32,767

  float centroid(uint32_t index, CodebookType type) const;
};

constexpr size_t kRegularCodebookBytes = 6;  // step, and the origin as 16 bits

// Whether step and origin exist that give every centroid exactly as it is stored.
bool find_regular(const float* codebook, uint32_t num_clusters, CodebookType type,
                  RegularCodebook* regular);

// Reads `num_clusters` centroids of a regular codebook. Errors as read_codebook.
Status read_regular(ByteReader* reader, CodebookType type, uint32_t num_clusters, size_t base,
                    std::vector<float>* codebook);

void append_regular(const RegularCodebook& regular, std::vector<uint8_t>* bytes);

// Appends the centroids as they are stored.
void append_codebook(const float* codebook, uint32_t num_clusters, CodebookType type,
                     std::vector<uint8_t>* bytes);

}  // namespace wl

#endif  // WL_CORE_CODEBOOK_H_
