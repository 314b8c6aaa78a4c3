// Turns a Status into a Python exception.
#ifndef WL_BINDINGS_BIND_STATUS_H_
#define WL_BINDINGS_BIND_STATUS_H_

#include <new>
#include <stdexcept>

#include "core/status.h"

namespace wl {

struct InvalidArgumentError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};
struct DamagedError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct FailedError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void throw_if_error(const Status& status) {
  switch (status.code) {
    case StatusCode::kOk:
      return;
    case StatusCode::kInvalidArgument:
      throw InvalidArgumentError(status.message);
    case StatusCode::kDamaged:
      throw DamagedError(status.message);
    case StatusCode::kFailed:
      throw FailedError(status.message);
    case StatusCode::kOutOfMemory:
      throw std::bad_alloc();
  }
}

}  // namespace wl

#endif  // WL_BINDINGS_BIND_STATUS_H_
