// The one symbol that the library exports: onnxruntime calls it when the library is registered.
#include <array>
#include <mutex>
#include <string>

#include "ops/decode_op.h"
#include "ops/ort_api.h"

#if defined(_WIN32)
#define WL_EXPORT __declspec(dllexport)
#else
#define WL_EXPORT __attribute__((visibility("default")))
#endif

namespace wl {
namespace {

using ort::Api;
using ort::OpError;

constexpr char kDomainName[] = "com.wl_onnx";
// Session config entry: "0" decodes at every run, "1" keeps what is decoded, whatever the nodes
// say. To be set before the library is registered.
constexpr char kCacheConfigKey[] = "com.wl_onnx.cache";
constexpr size_t kNumCachePolicies = 3;
constexpr size_t kMaxRuntimes = 8;  // copies of onnxruntime in one process

// The operators as one runtime sees them. Sessions point into it, so it stays where it is for as
// long as the library is loaded.
struct Registration {
  ort::OrtCustomOpDomain* domain = nullptr;
  DecodeOp bloomier_decode{};
  DecodeOp bundle_decode{};
  DecodeOp typed_bundle_decode{};
  DecodeOp palette_decode{};
  DecodeOp analog_read{};

  bool serves(const Api& api, CachePolicy policy) const {
    return bloomier_decode.api == api.table() && bloomier_decode.cache_policy == policy;
  }
};

class Registry {
 public:
  ~Registry() {
    for (const Registration& entry : entries_) {
      if (entry.domain != nullptr)
        Api(entry.bloomier_decode.api).get<ort::ReleaseCustomOpDomain>(entry.domain);
    }
  }

  // The domain with all operators, made when a runtime first asks for it.
  ort::OrtCustomOpDomain* domain_of(const Api& api, CachePolicy policy) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (Registration& entry : entries_) {
      if (entry.domain == nullptr) create(api, policy, &entry);
      if (entry.serves(api, policy)) return entry.domain;
    }
    throw OpError("a process must have at most " + std::to_string(kMaxRuntimes) +
                  " copies of onnxruntime, got more");
  }

 private:
  static void create(const Api& api, CachePolicy policy, Registration* entry) {
    ort::OrtCustomOpDomain* domain = nullptr;
    api.call<ort::CreateCustomOpDomain>(kDomainName, &domain);
    auto owned = api.own<ort::ReleaseCustomOpDomain>(domain);
    entry->bloomier_decode = make_bloomier_decode_op(api.table(), policy);
    entry->bundle_decode = make_bundle_decode_op(api.table(), policy);
    entry->typed_bundle_decode = make_typed_bundle_decode_op(api.table(), policy);
    entry->palette_decode = make_palette_decode_op(api.table(), policy);
    entry->analog_read = make_analog_read_op(api.table(), policy);
    for (const DecodeOp* op :
         {&entry->bloomier_decode, &entry->bundle_decode, &entry->typed_bundle_decode,
          &entry->palette_decode, &entry->analog_read}) {
      api.call<ort::CustomOpDomainAdd>(domain, static_cast<const ort::OrtCustomOp*>(op));
    }
    entry->domain = owned.release();
  }

  std::mutex mutex_;
  std::array<Registration, kMaxRuntimes * kNumCachePolicies> entries_;
};

CachePolicy read_cache_policy(const Api& api, const ort::OrtSessionOptions* options) {
  int is_there = 0;
  api.call<ort::HasSessionConfigEntry>(options, kCacheConfigKey, &is_there);
  if (!is_there) return CachePolicy::kAsAttribute;
  size_t size = 0;
  api.call<ort::GetSessionConfigEntry>(options, kCacheConfigKey, static_cast<char*>(nullptr),
                                       &size);
  std::string value(size, '\0');
  api.call<ort::GetSessionConfigEntry>(options, kCacheConfigKey, value.data(), &size);
  value = value.c_str();  // without the terminator
  if (value == "0") return CachePolicy::kNever;
  if (value == "1") return CachePolicy::kAlways;
  throw OpError(std::string("session config entry ") + kCacheConfigKey + " must be 0 or 1, got " +
                value);
}

// A status of a runtime that has no API of kApiFloor; every version can make one.
ort::OrtStatus* too_old(const ort::OrtApiBase* base) {
  for (uint32_t version = ort::kApiFloor - 1; version > 0; --version) {
    if (const ort::OrtApi* api = base->GetApi(version)) {
      const std::string reason = std::string("onnxruntime must be 1.") +
                                 std::to_string(ort::kApiFloor) + " or newer, got " +
                                 base->GetVersionString();
      return ort::make_error(api, "cannot register the operators of " + std::string(kDomainName),
                             reason.c_str());
    }
  }
  return nullptr;
}

}  // namespace
}  // namespace wl

extern "C" WL_EXPORT wl::ort::OrtStatus* RegisterCustomOps(wl::ort::OrtSessionOptions* options,
                                                           const wl::ort::OrtApiBase* base) {
  using namespace wl;
  static Registry registry;
  const ort::OrtApi* table = base->GetApi(ort::kApiFloor);
  if (table == nullptr) return too_old(base);
  std::string subject;
  return ort::guarded(table, subject, [&] {
    subject = "cannot register the operators of " + std::string(kDomainName);
    const Api api(table);
    api.call<ort::AddCustomOpDomain>(options,
                                     registry.domain_of(api, read_cache_policy(api, options)));
  });
}
