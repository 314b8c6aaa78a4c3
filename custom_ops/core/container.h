// The frame that every blob has: 16 bytes of header, a payload, 16 bytes of checksum.
// The bytes are written down in wl_onnx/codecs/FORMAT.md.
#ifndef WL_CORE_CONTAINER_H_
#define WL_CORE_CONTAINER_H_

#include <cstddef>
#include <cstdint>

#include "core/status.h"

namespace wl {

constexpr char kMagic[4] = {'W', 'L', 'O', 'X'};
constexpr size_t kContainerHeaderBytes = 16;
constexpr size_t kContainerChecksumBytes = 16;
constexpr uint8_t kFormatVersion = 1;
constexpr uint64_t kMaxWeights = 0xffffffffULL;

enum class Codec : uint8_t { kBloomier = 1, kPalette = 2, kBundle = 3, kAnalog = 4 };

// Views into the blob; valid as long as the blob is.
struct Container {
  uint8_t version = 0;
  Codec codec = Codec::kBloomier;
  uint64_t num_weights = 0;  // 1 .. kMaxWeights
  const uint8_t* payload = nullptr;
  size_t payload_size = 0;
};

// Checks magic, version, checksum, codec (it must be `codec`) and counts of blob[0:size] and fills
// `container`.
// Errors: kDamaged with the offset of the field in the text. Reads nothing outside the blob.
Status parse_container(const uint8_t* blob, size_t size, Codec codec, Container* container);

// Writes the header of a new blob. The checksum, murmur3_128 of all bytes before it, comes last and
// is the caller's to append.
void begin_container(Codec codec, uint64_t num_weights, uint8_t header[kContainerHeaderBytes]);

}  // namespace wl

#endif  // WL_CORE_CONTAINER_H_
