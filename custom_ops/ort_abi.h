// The part of onnxruntime's C ABI that the operator library uses, declared from its documentation.
//
// The ABI is append-only: a function keeps its slot in the API table for ever, and a table of
// version v has every function whose `since` is v or less. Calling past the end of an older
// runtime's table would run garbage, so a slot newer than kApiFloor does not compile.
#ifndef WL_ORT_ABI_H_
#define WL_ORT_ABI_H_

#include <cstddef>
#include <cstdint>

namespace wl::ort {

// The API version asked for, that of onnxruntime 1.17.
constexpr uint32_t kApiFloor = 17;

// Opaque to us; only ever held by pointer.
struct OrtAllocator;
struct OrtApi;
struct OrtCustomOpDomain;
struct OrtKernelContext;
struct OrtKernelInfo;
struct OrtOpAttr;
struct OrtSessionOptions;
struct OrtShapeInferContext;
struct OrtStatus;  // null means success
struct OrtTensorTypeAndShapeInfo;
struct OrtValue;

struct OrtApiBase {
  const OrtApi* (*GetApi)(uint32_t version);  // null where the runtime is older than `version`
  const char* (*GetVersionString)();
};

enum ErrorCode : int32_t { kErrorFail = 1, kErrorInvalidArgument = 2 };
enum Characteristic : int32_t { kRequired = 0, kOptional = 1, kVariadic = 2 };
enum MemoryType : int32_t { kMemoryDefault = 0 };
enum OpAttrType : int32_t { kOpAttrInt = 1, kOpAttrInts = 2 };
// ONNX's own numbers of element types.
constexpr int32_t kElementUndefined = 0;
constexpr int32_t kElementUint8 = 2;
constexpr int32_t kElementInt64 = 7;

// An operator, as onnxruntime reads it. Fields behind `version` may be null where the version
// named there does not read them.
struct OrtCustomOp {
  uint32_t version;
  void* (*CreateKernel)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*);
  const char* (*GetName)(const OrtCustomOp*);
  const char* (*GetExecutionProviderType)(const OrtCustomOp*);
  int32_t (*GetInputType)(const OrtCustomOp*, size_t index);
  size_t (*GetInputTypeCount)(const OrtCustomOp*);
  int32_t (*GetOutputType)(const OrtCustomOp*, size_t index);
  size_t (*GetOutputTypeCount)(const OrtCustomOp*);
  void (*KernelCompute)(void* kernel, OrtKernelContext*);
  void (*KernelDestroy)(void* kernel);
  Characteristic (*GetInputCharacteristic)(const OrtCustomOp*, size_t index);
  Characteristic (*GetOutputCharacteristic)(const OrtCustomOp*, size_t index);
  MemoryType (*GetInputMemoryType)(const OrtCustomOp*, size_t index);
  int (*GetVariadicInputMinArity)(const OrtCustomOp*);
  int (*GetVariadicInputHomogeneity)(const OrtCustomOp*);
  int (*GetVariadicOutputMinArity)(const OrtCustomOp*);
  int (*GetVariadicOutputHomogeneity)(const OrtCustomOp*);
  OrtStatus* (*CreateKernelV2)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*,
                               void** kernel);
  OrtStatus* (*KernelComputeV2)(void* kernel, OrtKernelContext*);
  OrtStatus* (*InferOutputShapeFn)(const OrtCustomOp*, OrtShapeInferContext*);
  int (*GetStartVersion)(const OrtCustomOp*);
  int (*GetEndVersion)(const OrtCustomOp*);
  size_t (*GetMayInplace)(int** inputs, int** outputs);
  void (*ReleaseMayInplace)(int* inputs, int* outputs);
  size_t (*GetAliasMap)(int** inputs, int** outputs);
  void (*ReleaseAliasMap)(int* inputs, int* outputs);
};
static_assert(sizeof(void*) != 8 || sizeof(OrtCustomOp) == 208, "onnxruntime reads 208 bytes");

// One function of the API table: its place, the API version that brought it, its type.
template <size_t slot, uint32_t since, typename Signature>
struct ApiFunction {
  static_assert(since <= kApiFloor, "the function is newer than the API version asked for");

  static Signature* of(const OrtApi* api) {
    using AnyFunction = void (*)();
    return reinterpret_cast<Signature*>(reinterpret_cast<const AnyFunction*>(api)[slot]);
  }
};

using CreateStatus = ApiFunction<0, 1, OrtStatus*(ErrorCode, const char* message)>;
using GetErrorMessage = ApiFunction<2, 1, const char*(const OrtStatus*)>;
using CreateCustomOpDomain = ApiFunction<26, 1, OrtStatus*(const char* name, OrtCustomOpDomain**)>;
using CustomOpDomainAdd = ApiFunction<27, 1, OrtStatus*(OrtCustomOpDomain*, const OrtCustomOp*)>;
using AddCustomOpDomain = ApiFunction<28, 1, OrtStatus*(OrtSessionOptions*, OrtCustomOpDomain*)>;
using GetTensorMutableData = ApiFunction<51, 1, OrtStatus*(OrtValue*, void** data)>;
using CreateTensorTypeAndShapeInfo = ApiFunction<57, 1, OrtStatus*(OrtTensorTypeAndShapeInfo**)>;
using SetTensorElementType =
    ApiFunction<58, 1, OrtStatus*(OrtTensorTypeAndShapeInfo*, int32_t element_type)>;
using SetDimensions =
    ApiFunction<59, 1, OrtStatus*(OrtTensorTypeAndShapeInfo*, const int64_t* dims, size_t rank)>;
using GetTensorElementType =
    ApiFunction<60, 1, OrtStatus*(const OrtTensorTypeAndShapeInfo*, int32_t* element_type)>;
using GetTensorShapeElementCount =
    ApiFunction<64, 1, OrtStatus*(const OrtTensorTypeAndShapeInfo*, size_t* count)>;
using GetTensorTypeAndShape =
    ApiFunction<65, 1, OrtStatus*(const OrtValue*, OrtTensorTypeAndShapeInfo**)>;
using GetAllocatorWithDefaultOptions = ApiFunction<78, 1, OrtStatus*(OrtAllocator**)>;
using KernelInfoGetAttributeInt64 =
    ApiFunction<86, 1, OrtStatus*(const OrtKernelInfo*, const char* name, int64_t*)>;
using KernelContextGetInput =
    ApiFunction<90, 1, OrtStatus*(const OrtKernelContext*, size_t index, const OrtValue**)>;
using KernelContextGetOutput =
    ApiFunction<91, 1,
                OrtStatus*(OrtKernelContext*, size_t index, const int64_t* dims, size_t rank,
                           OrtValue**)>;
using ReleaseStatus = ApiFunction<93, 1, void(OrtStatus*)>;
using ReleaseValue = ApiFunction<96, 1, void(OrtValue*)>;
using ReleaseTensorTypeAndShapeInfo = ApiFunction<99, 1, void(OrtTensorTypeAndShapeInfo*)>;
using ReleaseCustomOpDomain = ApiFunction<101, 1, void(OrtCustomOpDomain*)>;
using KernelInfoGetAttributeArrayInt64 =
    ApiFunction<163, 1,
                OrtStatus*(const OrtKernelInfo*, const char* name, int64_t* data, size_t* count)>;
using KernelInfoGetInputCount = ApiFunction<230, 14, OrtStatus*(const OrtKernelInfo*, size_t*)>;
using KernelInfoGetOutputCount = ApiFunction<231, 14, OrtStatus*(const OrtKernelInfo*, size_t*)>;
using KernelInfoGetAttributeTensor =
    ApiFunction<236, 14,
                OrtStatus*(const OrtKernelInfo*, const char* name, OrtAllocator*, OrtValue**)>;
using HasSessionConfigEntry =
    ApiFunction<237, 14, OrtStatus*(const OrtSessionOptions*, const char* key, int* is_there)>;
using GetSessionConfigEntry =
    ApiFunction<238, 14,
                OrtStatus*(const OrtSessionOptions*, const char* key, char* text, size_t* size)>;
using KernelInfoGetNodeName =
    ApiFunction<244, 15, OrtStatus*(const OrtKernelInfo*, char* text, size_t* size)>;
using KernelInfoGetConstantInputTensor =
    ApiFunction<249, 15,
                OrtStatus*(const OrtKernelInfo*, size_t index, int* is_constant, const OrtValue**)>;
using ShapeInferContextGetAttribute =
    ApiFunction<269, 17,
                OrtStatus*(const OrtShapeInferContext*, const char* name, const OrtOpAttr**)>;
using ShapeInferContextSetOutputTypeShape =
    ApiFunction<270, 17,
                OrtStatus*(const OrtShapeInferContext*, size_t index,
                           const OrtTensorTypeAndShapeInfo*)>;
using SetSymbolicDimensions =
    ApiFunction<271, 17, OrtStatus*(OrtTensorTypeAndShapeInfo*, const char* names[], size_t rank)>;
using ReadOpAttr = ApiFunction<272, 17,
                               OrtStatus*(const OrtOpAttr*, OpAttrType, void* data,
                                          size_t size_bytes, size_t* needed_bytes)>;
using KernelContextParallelFor =
    ApiFunction<274, 17,
                OrtStatus*(const OrtKernelContext*, void (*task)(void* data, size_t index),
                           size_t num_tasks, size_t num_batches, void* data)>;

}  // namespace wl::ort

#endif  // WL_ORT_ABI_H_
