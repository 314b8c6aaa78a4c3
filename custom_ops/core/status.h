// The outcome of a call into the core: no exception ever leaves it.
#ifndef WL_CORE_STATUS_H_
#define WL_CORE_STATUS_H_

#include <cstdarg>
#include <cstdio>

namespace wl {

enum class StatusCode {
  kOk,
  kInvalidArgument,  // the caller's mistake
  kDamaged,          // the bytes are not what was written
  kFailed,           // construction did not succeed
  kOutOfMemory,
};

// A code and, unless it is kOk, one line of text. Copied by value, never allocates.
struct Status {
  StatusCode code = StatusCode::kOk;
  char message[240] = {0};

  bool ok() const { return code == StatusCode::kOk; }
};

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
inline Status make_status(StatusCode code, const char* format, ...) {
  Status status;
  status.code = code;
  std::va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(status.message, sizeof(status.message), format, arguments);
  va_end(arguments);
  return status;
}

}  // namespace wl

#endif  // WL_CORE_STATUS_H_
