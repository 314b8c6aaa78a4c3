// What onnxruntime calls: the entries of an operator, for any kernel. A Kernel has
//   kOperatorName: the operator's type
//   Kernel(api, node, cache_policy)
//   compute(context), api(), subject()
#ifndef WL_OPS_DECODE_ENTRY_H_
#define WL_OPS_DECODE_ENTRY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/element.h"
#include "ops/decode_node.h"
#include "ops/decode_op.h"
#include "ops/ort_api.h"

namespace wl {

inline bool resolve(CachePolicy policy, bool attribute) {
  return policy == CachePolicy::kAsAttribute ? attribute : policy == CachePolicy::kAlways;
}

inline const DecodeOp& downcast(const ort::OrtCustomOp* op) {
  return *static_cast<const DecodeOp*>(op);
}

template <typename Kernel>
ort::OrtStatus* create_kernel(const ort::OrtCustomOp* op, const ort::OrtApi* table,
                              const ort::OrtKernelInfo* info, void** kernel) {
  std::string subject;
  return ort::guarded(table, subject, [&] {
    const ort::Api api(table);
    const NodeReader node(api, info);
    subject = "cannot load " + std::string(Kernel::kOperatorName) + " node " + node.name();
    *kernel = new Kernel(api, node, downcast(op).cache_policy);
  });
}

template <typename Kernel>
ort::OrtStatus* run_kernel(void* kernel, ort::OrtKernelContext* context) {
  auto* decoder = static_cast<Kernel*>(kernel);
  return ort::guarded(decoder->api().table(), decoder->subject(),
                      [&] { decoder->compute(context); });
}

// Gives an output its type and shape.
inline void infer_one(const ort::Api& api, ort::OrtShapeInferContext* context, size_t index,
                      ElementType type, const std::vector<int64_t>& shape) {
  num_elements(shape);
  ort::OrtTensorTypeAndShapeInfo* info = nullptr;
  api.call<ort::CreateTensorTypeAndShapeInfo>(&info);
  const auto owned = api.own<ort::ReleaseTensorTypeAndShapeInfo>(info);
  api.call<ort::SetTensorElementType>(info, static_cast<int32_t>(type));
  api.call<ort::SetDimensions>(info, shape.data(), shape.size());
  // onnxruntime 1.17 to 1.21 want as many symbols as dimensions, though all are empty.
  std::vector<const char*> symbols(shape.size(), "");
  api.call<ort::SetSymbolicDimensions>(info, symbols.data(), symbols.size());
  api.call<ort::ShapeInferContextSetOutputTypeShape>(context, index, info);
}

// Gives the output its type and shape. Where a node is bad it leaves both open and no status: that
// one onnxruntime (1.17 to 1.31) neither shows nor frees. The kernel's creation meets the same
// fault.
inline ort::OrtStatus* infer_output(const ort::OrtCustomOp* op,
                                    ort::OrtShapeInferContext* context) {
  try {
    const ort::Api api(downcast(op).api);
    const InferenceReader node(api, context);
    infer_one(api, context, 0, node.data_type(), node.shape());
  } catch (...) {
  }
  return nullptr;
}

template <typename Kernel>
DecodeOp make_op(const ort::OrtApi* api, CachePolicy cache_policy) {
  using ort::OrtCustomOp;
  DecodeOp op{};
  op.api = api;
  op.cache_policy = cache_policy;
  op.version = ort::kApiFloor;
  op.GetName = [](const OrtCustomOp*) { return Kernel::kOperatorName; };
  op.GetExecutionProviderType = [](const OrtCustomOp*) {
    return static_cast<const char*>(nullptr);
  };
  op.GetInputTypeCount = [](const OrtCustomOp*) { return size_t{1}; };
  op.GetInputType = [](const OrtCustomOp*, size_t) { return ort::kElementUint8; };
  op.GetInputCharacteristic = [](const OrtCustomOp*, size_t) { return ort::kOptional; };
  op.GetInputMemoryType = [](const OrtCustomOp*, size_t) { return ort::kMemoryDefault; };
  op.GetOutputTypeCount = [](const OrtCustomOp*) { return size_t{1}; };
  // One operator gives every element type: undefined says that infer_output knows. onnxruntime
  // allows that without an input of the same type only where the output is optional.
  op.GetOutputType = [](const OrtCustomOp*, size_t) { return ort::kElementUndefined; };
  op.GetOutputCharacteristic = [](const OrtCustomOp*, size_t) { return ort::kOptional; };
  op.GetVariadicInputMinArity = [](const OrtCustomOp*) { return 0; };
  op.GetVariadicInputHomogeneity = [](const OrtCustomOp*) { return 0; };
  op.GetVariadicOutputMinArity = [](const OrtCustomOp*) { return 0; };
  op.GetVariadicOutputHomogeneity = [](const OrtCustomOp*) { return 0; };
  op.CreateKernelV2 = create_kernel<Kernel>;
  op.KernelComputeV2 = run_kernel<Kernel>;
  op.KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
  op.InferOutputShapeFn = infer_output;
  op.GetStartVersion = [](const OrtCustomOp*) { return 1; };
  op.GetEndVersion = [](const OrtCustomOp*) { return INT32_MAX; };
  return op;
}

}  // namespace wl

#endif  // WL_OPS_DECODE_ENTRY_H_
