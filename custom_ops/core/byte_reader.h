// Reads little-endian numbers out of a span of bytes, never past its end.
#ifndef WL_CORE_BYTE_READER_H_
#define WL_CORE_BYTE_READER_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "blobs are little-endian and are read in place: a big-endian CPU is not supported"
#endif

namespace wl {

// After a read past the end, `failed()` stays true and every read gives 0.
class ByteReader {
 public:
  ByteReader(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  size_t offset() const { return offset_; }
  size_t remaining() const { return size_ - offset_; }
  bool failed() const { return failed_; }

  // The next `count` bytes, or null where fewer are left.
  const uint8_t* skip(uint64_t count) {
    if (failed_ || count > remaining()) {
      failed_ = true;
      return nullptr;
    }
    const uint8_t* at = data_ + offset_;
    offset_ += static_cast<size_t>(count);
    return at;
  }

  template <typename T>
  T read() {
    T value{};
    if (const uint8_t* at = skip(sizeof(T))) std::memcpy(&value, at, sizeof(T));
    return value;
  }

 private:
  const uint8_t* data_;
  size_t size_;
  size_t offset_ = 0;
  bool failed_ = false;
};

}  // namespace wl

#endif  // WL_CORE_BYTE_READER_H_
