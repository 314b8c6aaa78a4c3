// What the parsers of payloads have in common.
#ifndef WL_CORE_PAYLOAD_PARSER_H_
#define WL_CORE_PAYLOAD_PARSER_H_

#include <cstddef>
#include <cstdint>
#include <new>

#include "core/byte_reader.h"
#include "core/container.h"
#include "core/status.h"

namespace wl {

// Reads a payload field by field. A parser is derived from it, has a constructor
// (container, view) and a function `Status parse()` that the first wrong field ends.
class PayloadParser {
 protected:
  explicit PayloadParser(const Container& container)
      : reader_(container.payload, container.payload_size) {}

  // Offsets in messages count from the blob's first byte.
  template <typename Number>
  Status damaged(const char* what, size_t payload_offset, Number got) const {
    return make_status(StatusCode::kDamaged, "%s, got %.15g at byte %zu", what,
                       static_cast<double>(got), kContainerHeaderBytes + payload_offset);
  }

  Status cut_short(const char* what) const {
    return damaged(what, reader_.offset(), reader_.remaining());
  }

  ByteReader reader_;
};

// Checks the frame of a blob of a codec, then its payload with a Parser.
template <typename Parser, typename View>
Status parse_payload(const uint8_t* blob, size_t size, Codec codec, View* view) {
  Container container;
  const Status status = parse_container(blob, size, codec, &container);
  if (!status.ok()) return status;
  try {
    return Parser(container, view).parse();
  } catch (const std::bad_alloc&) {
    return make_status(StatusCode::kOutOfMemory, "memory ran out while the blob was parsed");
  }
}

}  // namespace wl

#endif  // WL_CORE_PAYLOAD_PARSER_H_
