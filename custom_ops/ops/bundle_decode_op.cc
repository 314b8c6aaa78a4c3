#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/bundle_blob.h"
#include "core/bundle_decode.h"
#include "ops/decode_entry.h"

namespace wl {
namespace {

// onnxruntime 1.17 takes the type of an output that the operator leaves open from the model's
// value_info alone, which costs more than a small tensor. So float32 has an operator of its own.
template <bool is_typed>
class BundleKernel {
  using Api = ort::Api;
  using OpError = ort::OpError;

 public:
  static constexpr const char* kOperatorName = is_typed ? "TypedBundleDecode" : "BundleDecode";

  BundleKernel(const Api& api, const NodeReader& node, CachePolicy cache_policy)
      : api_(api),
        subject_("cannot run " + std::string(kOperatorName) + " node " + node.name()),
        shapes_(node.shapes()),
        types_(shapes_.size(), node.data_type()),
        cache_(resolve(cache_policy, node.cache())),
        blob_(api.own<ort::ReleaseValue>(static_cast<ort::OrtValue*>(nullptr))) {
    if (!is_typed && node.data_type() != ElementType::kFloat32) {
      throw OpError("attribute data_type must be 1 (float32), got " +
                    std::to_string(static_cast<int32_t>(node.data_type())));
    }
    const TensorData blob = blob_data(api_, node.blob(&blob_));
    const Status status = parse_bundle(blob.data, blob.num_elements, &view_);
    if (!status.ok()) throw OpError(status.message);
    if (shapes_.size() != view_.tensors.size() || node.num_outputs() != shapes_.size()) {
      throw OpError("it must have as many shapes and outputs as its blob has tensors, " +
                    std::to_string(view_.tensors.size()) + ", got " +
                    std::to_string(shapes_.size()) + " and " + std::to_string(node.num_outputs()));
    }
    for (size_t i = 0; i < shapes_.size(); ++i) {
      const uint64_t num_weights = num_elements(shapes_[i]);
      if (num_weights != view_.tensors[i].num_weights) {
        throw OpError("shape " + std::to_string(i) + " must have as many elements as its blob, " +
                      std::to_string(view_.tensors[i].num_weights) + ", got " +
                      to_text(shapes_[i]));
      }
      sizes_.push_back(static_cast<size_t>(num_weights) *
                       element_size(static_cast<int32_t>(types_[i])));
    }
  }

  // Writes the weights into the outputs. Any number of threads may run one kernel at a time.
  void compute(ort::OrtKernelContext* context) {
    std::vector<uint8_t*> outputs;
    for (size_t i = 0; i < shapes_.size(); ++i) {
      ort::OrtValue* value = nullptr;  // owned by the run
      api_.call<ort::KernelContextGetOutput>(context, i, shapes_[i].data(), shapes_[i].size(),
                                             &value);
      // Null where nobody reads it.
      outputs.push_back(value == nullptr ? nullptr : output_data(api_, value, types_[i]));
    }
    if (!cache_) {
      decode(outputs);
      return;
    }
    fill_cache();
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (outputs[i] != nullptr) std::memcpy(outputs[i], cached_[i].get(), sizes_[i]);
    }
  }

  const Api& api() const { return api_; }
  const std::string& subject() const { return subject_; }

 private:
  // Decodes on the first run. A run that fails leaves everything as it was.
  void fill_cache() {
    if (is_cached_.load(std::memory_order_acquire)) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (is_cached_.load(std::memory_order_relaxed)) return;
    std::vector<std::unique_ptr<uint8_t[]>> decoded;
    std::vector<uint8_t*> outputs;
    for (const size_t size : sizes_) {
      decoded.emplace_back(new uint8_t[size]);
      outputs.push_back(decoded.back().get());
    }
    decode(outputs);
    cached_ = std::move(decoded);
    blob_.reset();
    view_ = BundleView();
    is_cached_.store(true, std::memory_order_release);
  }

  void decode(const std::vector<uint8_t*>& outputs) const {
    const Status status = decode_bundle(view_, outputs, types_, nullptr);
    if (!status.ok()) throw OpError(status.message);
  }

  const Api api_;
  const std::string subject_;  // what an error of a run begins with
  const std::vector<std::vector<int64_t>> shapes_;
  const std::vector<ElementType> types_;
  const bool cache_;
  std::vector<size_t> sizes_;  // bytes of the outputs

  // What is decoded; let go once the cache is filled.
  ort::OwnedValue blob_;  // null where the blob is an initializer
  BundleView view_;

  std::mutex mutex_;  // held by the one run that fills the cache
  std::atomic<bool> is_cached_{false};
  std::vector<std::unique_ptr<uint8_t[]>> cached_;
};

// As infer_output, for every output.
ort::OrtStatus* infer_outputs(const ort::OrtCustomOp* op, ort::OrtShapeInferContext* context) {
  try {
    const ort::Api api(downcast(op).api);
    const InferenceReader node(api, context);
    const std::vector<std::vector<int64_t>> shapes = node.shapes();
    for (size_t i = 0; i < shapes.size(); ++i) {
      infer_one(api, context, i, node.data_type(), shapes[i]);
    }
  } catch (...) {
  }
  return nullptr;
}

template <bool is_typed>
DecodeOp make(const ort::OrtApi* api, CachePolicy cache_policy) {
  DecodeOp op = make_op<BundleKernel<is_typed>>(api, cache_policy);
  op.GetOutputType = [](const ort::OrtCustomOp*, size_t) {
    return is_typed ? ort::kElementUndefined : static_cast<int32_t>(ElementType::kFloat32);
  };
  op.GetOutputCharacteristic = [](const ort::OrtCustomOp*, size_t) { return ort::kVariadic; };
  op.GetVariadicOutputMinArity = [](const ort::OrtCustomOp*) { return 1; };
  op.GetVariadicOutputHomogeneity = [](const ort::OrtCustomOp*) { return 1; };
  op.InferOutputShapeFn = infer_outputs;
  return op;
}

}  // namespace

DecodeOp make_bundle_decode_op(const ort::OrtApi* api, CachePolicy cache_policy) {
  return make<false>(api, cache_policy);
}

DecodeOp make_typed_bundle_decode_op(const ort::OrtApi* api, CachePolicy cache_policy) {
  return make<true>(api, cache_policy);
}

}  // namespace wl
