#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/analog_blob.h"
#include "core/analog_layout.h"
#include "core/analog_read.h"
#include "core/analog_response.h"
#include "core/analog_state.h"
#include "core/entropy.h"
#include "ops/decode_kernel.h"

namespace wl {
namespace {

constexpr size_t kWriteSeedInput = 0;
constexpr size_t kReadSeedInput = 1;
constexpr size_t kTimeInput = 2;
constexpr size_t kBlobInput = 3;
constexpr size_t kNumInputs = 4;

void run_serially(uint64_t num_tasks, const std::function<void(uint64_t)>& task) {
  for (uint64_t i = 0; i < num_tasks; ++i) task(i);
}

// Reads a weight from analog cells. The cells as they were programmed are kept from run to run.
class AnalogKernel {
  using Api = ort::Api;
  using OpError = ort::OpError;

 public:
  static constexpr const char* kOperatorName = "AnalogRead";

  AnalogKernel(const Api& api, const NodeReader& node, CachePolicy cache_policy)
      : api_(api),
        subject_("cannot run " + std::string(kOperatorName) + " node " + node.name()),
        shape_(node.shape()),
        type_(node.data_type()),
        is_frugal_(cache_policy == CachePolicy::kNever),
        blob_(api.own<ort::ReleaseValue>(static_cast<ort::OrtValue*>(nullptr))) {
    const uint64_t num_weights = num_elements(shape_);
    const TensorData blob = blob_data(api_, node.blob(&blob_, kBlobInput));
    throw_if_error(parse_analog(blob.data, blob.num_elements, &view_));
    // Before anything grows with the weights.
    if (view_.num_weights != num_weights) {
      throw OpError("attribute shape must have as many elements as its blob, " +
                    std::to_string(view_.num_weights) + ", got " + to_text(shape_));
    }
    throw_if_error(AnalogLayout::build(view_, run_serially, &layout_));
    ResponseTables response;
    throw_if_error(build_response(view_, DriftEstimate{}, &response));
  }

  // Writes one read of the weight into the output. Any number of threads may run one kernel.
  void compute(ort::OrtKernelContext* context) {
    uint64_t write_seed = view_.write_seed;
    int64_t given_seed = 0;
    if (read_input(context, kWriteSeedInput, "write_seed", ort::kElementInt64, &given_seed)) {
      write_seed = static_cast<uint64_t>(given_seed);
    }
    int64_t read_seed = -1;
    read_input(context, kReadSeedInput, "read_seed", ort::kElementInt64, &read_seed);
    float time_s = view_.time_s;
    read_input(context, kTimeInput, "time_s", static_cast<int32_t>(ElementType::kFloat32), &time_s);
    if (!(time_s >= 0 && time_s <= kMaxTimeS)) {
      throw OpError("input time_s must be from 0 to 1e12 s, got " + std::to_string(time_s));
    }
    if (is_frugal_) trim_heap(layout_.num_weights() * element_size(static_cast<int32_t>(type_)));
    ort::OrtValue* value = nullptr;  // owned by the run
    api_.call<ort::KernelContextGetOutput>(context, size_t{0}, shape_.data(), shape_.size(),
                                           &value);
    if (value == nullptr) return;  // nobody reads it
    uint8_t* output = output_data(api_, value, type_);
    const TaskRunner run = [&](uint64_t num_tasks, const std::function<void(uint64_t)>& task) {
      run_on_threads(context, num_tasks, task);
    };
    const std::shared_ptr<const AnalogState> state = program(write_seed, time_s, run);
    const uint64_t seed = read_seed < 0 ? fresh_seed() : static_cast<uint64_t>(read_seed);
    run(num_analog_tasks(layout_), [&](uint64_t task) {
      read_analog_task(view_, layout_, *state, seed, type_, task, output);
    });
  }

  const Api& api() const { return api_; }
  const std::string& subject() const { return subject_; }

 private:
  static void throw_if_error(const Status& status) {
    if (status.code == StatusCode::kOutOfMemory) throw std::bad_alloc();
    if (!status.ok()) throw OpError(status.message);
  }

  void run_on_threads(const ort::OrtKernelContext* context, uint64_t num_tasks,
                      const std::function<void(uint64_t)>& task) const {
    if (num_tasks == 0) return;
    const auto call = [](void* data, size_t index) {
      (*static_cast<const std::function<void(uint64_t)>*>(data))(index);
    };
    run_tasks(api_, context, call, num_tasks,
              const_cast<std::function<void(uint64_t)>*>(&task));  // only ever called
  }

  // The cells after a write and some time: the last ones, or new ones. The lock cannot deadlock:
  // the threads that program never run a kernel.
  std::shared_ptr<const AnalogState> program(uint64_t write_seed, float time_s,
                                             const TaskRunner& run) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (state_ == nullptr || state_->write_seed() != write_seed || state_->time_s() != time_s) {
      std::shared_ptr<AnalogState> state = std::move(state_);
      state_ = nullptr;
      // Nobody gets hold of it but here, so once it is ours alone it stays so; the memory is there.
      if (state == nullptr || state.use_count() != 1) state = std::make_shared<AnalogState>();
      std::atomic_thread_fence(std::memory_order_acquire);  // behind the last read of another run
      throw_if_error(AnalogState::program(view_, layout_, write_seed, time_s, run, state.get()));
      state_ = std::move(state);
    }
    return state_;
  }

  // The one number that an input holds; false where the node has no such input.
  template <typename T>
  bool read_input(const ort::OrtKernelContext* context, size_t index, const char* name,
                  int32_t element_type, T* number) const {
    const ort::OrtValue* value = nullptr;
    api_.call<ort::KernelContextGetInput>(context, index, &value);
    if (value == nullptr) return false;
    const TensorData tensor = tensor_data(api_, value);
    if (tensor.element_type != element_type || tensor.num_elements != 1) {
      throw OpError("input " + std::string(name) + " must be one number of element type " +
                    std::to_string(element_type) + ", got " + std::to_string(tensor.num_elements) +
                    " of type " + std::to_string(tensor.element_type));
    }
    std::memcpy(number, tensor.data, sizeof(T));
    return true;
  }

  const Api api_;
  const std::string subject_;  // what an error of a run begins with
  const std::vector<int64_t> shape_;
  const ElementType type_;
  const bool is_frugal_;
  ort::OwnedValue blob_;  // null where the blob is an initializer
  AnalogView view_;
  AnalogLayout layout_;

  std::mutex mutex_;  // held while cells are programmed
  std::shared_ptr<AnalogState> state_;
};

}  // namespace

DecodeOp make_analog_read_op(const ort::OrtApi* api, CachePolicy cache_policy) {
  DecodeOp op = make_op<AnalogKernel>(api, cache_policy);
  op.GetInputTypeCount = [](const ort::OrtCustomOp*) { return kNumInputs; };
  op.GetInputType = [](const ort::OrtCustomOp*, size_t index) {
    constexpr int32_t kTypes[kNumInputs] = {ort::kElementInt64, ort::kElementInt64,
                                            static_cast<int32_t>(ElementType::kFloat32),
                                            ort::kElementUint8};
    return kTypes[index];
  };
  return op;
}

}  // namespace wl
