// The operators of com.wl_onnx that give weights: BloomierDecode, PaletteDecode, BundleDecode,
// TypedBundleDecode, and AnalogRead, of which more below.
//
// Inputs: none, or one constant uint8 tensor, the blob. Output: the weight.
// Attributes: shape (ints), data_type (int, ONNX's number of the output's element type), blob
// (uint8 tensor, unless it is the input), cache (int, default 1: decode once and keep the tensor;
// 0: decode at every run), summary (text for people, not read). BundleDecode has an output for each
// tensor of its bundle, all float32 (of TypedBundleDecode, all of one type), and shapes in place of
// shape: the rank of each output, then its dimensions.
//
// AnalogRead has the inputs write_seed (int64: programming and drift), read_seed (int64: read
// noise; negative: other noise at each run), time_s (float: since programming) and the blob. All
// may be missing: seed and time are the blob's then, and each run reads with other noise. The same
// seeds and time give the same weights. It has no attribute cache: the programmed cells are kept.
#ifndef WL_OPS_DECODE_OP_H_
#define WL_OPS_DECODE_OP_H_

#include "ort_abi.h"

namespace wl {

// Whether decoded tensors are kept between runs.
enum class CachePolicy { kAsAttribute, kNever, kAlways };

struct DecodeOp : ort::OrtCustomOp {
  const ort::OrtApi* api;  // of the runtime that it is registered with
  CachePolicy cache_policy;
};

DecodeOp make_analog_read_op(const ort::OrtApi* api, CachePolicy cache_policy);
DecodeOp make_bloomier_decode_op(const ort::OrtApi* api, CachePolicy cache_policy);
DecodeOp make_bundle_decode_op(const ort::OrtApi* api, CachePolicy cache_policy);
DecodeOp make_typed_bundle_decode_op(const ort::OrtApi* api, CachePolicy cache_policy);
DecodeOp make_palette_decode_op(const ort::OrtApi* api, CachePolicy cache_policy);

}  // namespace wl

#endif  // WL_OPS_DECODE_OP_H_
