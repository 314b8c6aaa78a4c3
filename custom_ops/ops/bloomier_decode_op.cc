#include "core/bloomier_blob.h"
#include "core/bloomier_decode.h"
#include "ops/decode_kernel.h"

namespace wl {
namespace {

struct BloomierCodec {
  static constexpr char kOperatorName[] = "BloomierDecode";
  using View = BloomierView;

  static Status parse(const uint8_t* blob, size_t size, View* view) {
    return parse_bloomier(blob, size, view);
  }
  static uint64_t num_units(const View& view) { return view.num_groups(); }
  static uint64_t unit_weights(const View&) { return kGroupSize; }
  static uint64_t units_per_task(const View&) { return 128; }  // 131,072 weights
  static void decode_units(const View& view, const void* elements, size_t element_bytes,
                           uint64_t first, uint64_t last, void* output) {
    decode_groups(view, elements, element_bytes, first, last, output);
  }
};

}  // namespace

DecodeOp make_bloomier_decode_op(const ort::OrtApi* api, CachePolicy cache_policy) {
  return make_decode_op<BloomierCodec>(api, cache_policy);
}

}  // namespace wl
