// The kernel of the operators that decode a weight, for any codec. A Codec has
//   kOperatorName: the operator's type
//   View: a parsed blob, with num_weights and codebook; views into the blob's bytes
//   Status parse(blob, size, &view)
//   uint64_t num_units(view): units that can be decoded each by itself
//   uint64_t unit_weights(view): weights of a unit but for the last
//   uint64_t units_per_task(view): some 0.1 ms of work, far above a task's cost
//   void decode_units(view, elements, element_bytes, first, last, output)
#ifndef WL_OPS_DECODE_KERNEL_H_
#define WL_OPS_DECODE_KERNEL_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <utility>
#include <vector>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "core/element.h"
#include "core/status.h"
#include "ops/decode_entry.h"
#include "ops/decode_node.h"
#include "ops/decode_op.h"
#include "ops/ort_api.h"

namespace wl {

constexpr size_t kCopyBytesPerTask = 1 << 20;  // 0.1 ms, far above a task's cost

// Runs task(data, 0) ... task(data, num_tasks - 1) on the session's own threads.
inline void run_tasks(const ort::Api& api, const ort::OrtKernelContext* context,
                      void (*task)(void*, size_t), uint64_t num_tasks, void* data) {
  constexpr size_t kRuntimeChooses = 0;
  if (num_tasks == 1) {
    task(data, 0);
  } else {
    api.call<ort::KernelContextParallelFor>(context, task, static_cast<size_t>(num_tasks),
                                            kRuntimeChooses, data);
  }
}

// Gives freed memory back to the system before a large weight is decoded. glibc keeps freed blocks
// of up to 32 MiB, and aligned requests often do not fit them: four weights of 16 MiB that were
// decoded and freed in turn held 168 MiB after twenty runs, and hold 16 MiB with this.
inline void trim_heap(size_t size_bytes) {
#if defined(__GLIBC__)
  constexpr size_t kWorthwhileBytes = 1 << 18;
  if (size_bytes >= kWorthwhileBytes) malloc_trim(0);
#else
  (void)size_bytes;
#endif
}

inline uint64_t ceil_divide(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

template <typename Codec>
class DecodeKernel {
  using Api = ort::Api;
  using OpError = ort::OpError;

 public:
  static constexpr const char* kOperatorName = Codec::kOperatorName;

  DecodeKernel(const Api& api, const NodeReader& node, CachePolicy cache_policy);

  // Writes the weight into the output. Any number of threads may run one kernel at a time.
  void compute(ort::OrtKernelContext* context);

  const Api& api() const { return api_; }
  const std::string& subject() const { return subject_; }

 private:
  void fill_cache(const ort::OrtKernelContext* context);
  void decode(const ort::OrtKernelContext* context, uint8_t* output) const;
  void copy_cache(const ort::OrtKernelContext* context, uint8_t* output) const;

  const Api api_;
  const std::string subject_;  // what an error of a run begins with
  const std::vector<int64_t> shape_;
  const ElementType type_;
  const size_t element_bytes_;
  const bool cache_;
  size_t size_bytes_ = 0;  // of the output

  // What is decoded; let go once the cache is filled.
  ort::OwnedValue blob_;  // null where the blob is an initializer
  typename Codec::View view_;
  std::vector<uint8_t> elements_;  // the centroids, as the output has them

  std::mutex mutex_;  // held by the one run that fills the cache
  std::atomic<bool> is_cached_{false};
  std::unique_ptr<uint8_t[]> cached_;
};

template <typename Codec>
DecodeKernel<Codec>::DecodeKernel(const Api& api, const NodeReader& node, CachePolicy cache_policy)
    : api_(api),
      subject_("cannot run " + std::string(Codec::kOperatorName) + " node " + node.name()),
      shape_(node.shape()),
      type_(node.data_type()),
      element_bytes_(element_size(static_cast<int32_t>(type_))),
      cache_(resolve(cache_policy, node.cache())),
      blob_(api.own<ort::ReleaseValue>(static_cast<ort::OrtValue*>(nullptr))) {
  const uint64_t num_weights = num_elements(shape_);
  const TensorData blob = blob_data(api_, node.blob(&blob_));
  const Status status = Codec::parse(blob.data, blob.num_elements, &view_);
  if (!status.ok()) throw OpError(status.message);
  if (view_.num_weights != num_weights) {
    throw OpError("attribute shape must have as many elements as its blob, " +
                  std::to_string(view_.num_weights) + ", got " + to_text(shape_));
  }
  if (num_weights > SIZE_MAX / element_bytes_ ||
      !convert_elements(view_.codebook, type_, &elements_)) {
    throw std::bad_alloc();
  }
  size_bytes_ = static_cast<size_t>(num_weights) * element_bytes_;
}

template <typename Codec>
void DecodeKernel<Codec>::compute(ort::OrtKernelContext* context) {
  if (!cache_) trim_heap(size_bytes_);
  ort::OrtValue* value = nullptr;  // owned by the run
  api_.call<ort::KernelContextGetOutput>(context, size_t{0}, shape_.data(), shape_.size(), &value);
  if (value == nullptr) return;  // nobody reads it
  uint8_t* output = output_data(api_, value, type_);
  if (cache_) {
    fill_cache(context);
    copy_cache(context, output);
  } else {
    decode(context, output);
  }
}

// Decodes on the first run. A run that fails leaves everything as it was, so the next one tries
// again. The lock cannot deadlock: the threads that decode never run a kernel.
template <typename Codec>
void DecodeKernel<Codec>::fill_cache(const ort::OrtKernelContext* context) {
  if (is_cached_.load(std::memory_order_acquire)) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (is_cached_.load(std::memory_order_relaxed)) return;
  std::unique_ptr<uint8_t[]> decoded(new uint8_t[size_bytes_]);
  decode(context, decoded.get());
  cached_ = std::move(decoded);
  blob_.reset();
  view_ = typename Codec::View();
  std::vector<uint8_t>().swap(elements_);
  is_cached_.store(true, std::memory_order_release);
}

template <typename Codec>
void DecodeKernel<Codec>::decode(const ort::OrtKernelContext* context, uint8_t* output) const {
  struct Work {
    const DecodeKernel* kernel;
    uint8_t* output;
  } work{this, output};
  const auto task = [](void* data, size_t index) {
    const auto& [kernel, out] = *static_cast<Work*>(data);
    const typename Codec::View& view = kernel->view_;
    const uint64_t first = index * Codec::units_per_task(view);
    const uint64_t last = std::min(first + Codec::units_per_task(view), Codec::num_units(view));
    Codec::decode_units(view, kernel->elements_.data(), kernel->element_bytes_, first, last,
                        out + first * Codec::unit_weights(view) * kernel->element_bytes_);
  };
  run_tasks(api_, context, task, ceil_divide(Codec::num_units(view_), Codec::units_per_task(view_)),
            &work);
}

template <typename Codec>
void DecodeKernel<Codec>::copy_cache(const ort::OrtKernelContext* context, uint8_t* output) const {
  struct Work {
    const uint8_t* input;
    uint8_t* output;
    size_t size;
  } work{cached_.get(), output, size_bytes_};
  const auto task = [](void* data, size_t index) {
    const auto& [input, out, size] = *static_cast<Work*>(data);
    const size_t first = index * kCopyBytesPerTask;
    std::memcpy(out + first, input + first, std::min(kCopyBytesPerTask, size - first));
  };
  run_tasks(api_, context, task, ceil_divide(size_bytes_, kCopyBytesPerTask), &work);
}

template <typename Codec>
DecodeOp make_decode_op(const ort::OrtApi* api, CachePolicy cache_policy) {
  return make_op<DecodeKernel<Codec>>(api, cache_policy);
}

}  // namespace wl

#endif  // WL_OPS_DECODE_KERNEL_H_
