// Checked calls into onnxruntime: every status is looked at and released, every handle is owned.
//
// Inside the library an error is an OpError; `guarded` turns it into a status at the C boundary.
#ifndef WL_OPS_ORT_API_H_
#define WL_OPS_ORT_API_H_

#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>

#include "ort_abi.h"

namespace wl::ort {

class OpError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The API table of one runtime. Copied by value.
class Api {
 public:
  explicit Api(const OrtApi* table) : table_(table) {}

  const OrtApi* table() const { return table_; }

  // Calls a function that gives no status.
  template <typename Function, typename... Args>
  auto get(Args... args) const {
    return Function::of(table_)(args...);
  }

  // Calls a function that gives a status; throws OpError with its text where it is an error.
  template <typename Function, typename... Args>
  void call(Args... args) const {
    if (OrtStatus* status = Function::of(table_)(args...)) {
      const std::unique_ptr<OrtStatus, void (*)(OrtStatus*)> owned(status,
                                                                   ReleaseStatus::of(table_));
      throw OpError(get<GetErrorMessage>(static_cast<const OrtStatus*>(status)));
    }
  }

  // Calls a function that gives a status; false where it is an error.
  template <typename Function, typename... Args>
  bool succeeds(Args... args) const noexcept {
    OrtStatus* status = Function::of(table_)(args...);
    if (status == nullptr) return true;
    get<ReleaseStatus>(status);
    return false;
  }

  // An owner of `handle` that lets it go through `Release`.
  template <typename Release, typename Handle>
  std::unique_ptr<Handle, void (*)(Handle*)> own(Handle* handle) const {
    return {handle, Release::of(table_)};
  }

 private:
  const OrtApi* table_;
};

using OwnedValue = std::unique_ptr<OrtValue, void (*)(OrtValue*)>;

// A new status with the text "subject: reason". Never throws.
inline OrtStatus* make_error(const OrtApi* api, const std::string& subject,
                             const char* reason) noexcept {
  try {
    return CreateStatus::of(api)(kErrorFail, (subject + ": " + reason).c_str());
  } catch (...) {  // no memory for the whole text
    return CreateStatus::of(api)(kErrorFail, reason);
  }
}

// Runs `work` and turns whatever it throws into a status that begins with `subject`.
template <typename Work>
OrtStatus* guarded(const OrtApi* api, const std::string& subject, Work&& work) noexcept {
  try {
    work();
    return nullptr;
  } catch (const std::bad_alloc&) {
    return make_error(api, subject, "memory must suffice, got none");
  } catch (const std::exception& error) {
    return make_error(api, subject, error.what());
  } catch (...) {
    return make_error(api, subject, "an unknown error was thrown");
  }
}

}  // namespace wl::ort

#endif  // WL_OPS_ORT_API_H_
