#include "core/container.h"

#include <cstring>

#include "core/byte_reader.h"
#include "core/murmur3.h"

namespace wl {
namespace {

const char* name_of(Codec codec) {
  switch (codec) {
    case Codec::kBloomier:
      return "Bloomier";
    case Codec::kPalette:
      return "palette";
    case Codec::kBundle:
      return "bundle";
    case Codec::kAnalog:
      return "analog";
  }
  return "unknown";
}

}  // namespace

Status parse_container(const uint8_t* blob, size_t size, Codec codec, Container* container) {
  constexpr size_t kFrame = kContainerHeaderBytes + kContainerChecksumBytes;
  if (size < kFrame) {
    return make_status(StatusCode::kDamaged,
                       "the blob must have at least %zu bytes, got %zu; it is cut short", kFrame,
                       size);
  }
  if (std::memcmp(blob, kMagic, sizeof(kMagic)) != 0) {
    return make_status(StatusCode::kDamaged,
                       "the blob must begin with WLOX, got other bytes at byte 0");
  }
  const uint8_t version = blob[4];
  if (version != kFormatVersion) {
    return make_status(
        StatusCode::kDamaged,
        "the blob's format version must be %d, got %d at byte 4; a newer wl_onnx may "
        "read it",
        kFormatVersion, version);
  }
  uint8_t digest[kContainerChecksumBytes];
  murmur3_128(blob, size - kContainerChecksumBytes, digest);
  if (std::memcmp(digest, blob + size - kContainerChecksumBytes, sizeof(digest)) != 0) {
    return make_status(StatusCode::kDamaged,
                       "the checksum of the blob's %zu bytes must match, got another at byte %zu; "
                       "the blob was changed or cut short",
                       size, size - kContainerChecksumBytes);
  }
  if (blob[5] != static_cast<uint8_t>(codec)) {
    return make_status(StatusCode::kDamaged, "the blob's codec must be %d (%s), got %d at byte 5",
                       static_cast<int>(codec), name_of(codec), blob[5]);
  }
  ByteReader reader(blob, kContainerHeaderBytes);
  reader.skip(6);
  const uint16_t reserved = reader.read<uint16_t>();
  if (reserved != 0) {
    return make_status(StatusCode::kDamaged, "the reserved field must be 0, got %d at byte 6",
                       reserved);
  }
  container->num_weights = reader.read<uint64_t>();
  if (container->num_weights == 0 || container->num_weights > kMaxWeights) {
    return make_status(StatusCode::kDamaged,
                       "the number of weights must be from 1 to 2^32 - 1, got %llu at byte 8",
                       static_cast<unsigned long long>(container->num_weights));
  }
  container->version = version;
  container->codec = codec;
  container->payload = blob + kContainerHeaderBytes;
  container->payload_size = size - kFrame;
  return Status{};
}

void begin_container(Codec codec, uint64_t num_weights, uint8_t header[kContainerHeaderBytes]) {
  std::memset(header, 0, kContainerHeaderBytes);
  std::memcpy(header, kMagic, sizeof(kMagic));
  header[4] = kFormatVersion;
  header[5] = static_cast<uint8_t>(codec);
  std::memcpy(header + 8, &num_weights, sizeof(num_weights));
}

}  // namespace wl
