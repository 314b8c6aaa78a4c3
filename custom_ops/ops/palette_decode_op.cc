#include "core/palette_blob.h"
#include "core/palette_decode.h"
#include "ops/decode_kernel.h"

namespace wl {
namespace {

struct PaletteCodec {
  static constexpr char kOperatorName[] = "PaletteDecode";
  using View = PaletteView;

  static Status parse(const uint8_t* blob, size_t size, View* view) {
    return parse_palette(blob, size, view);
  }
  static uint64_t num_units(const View& view) { return view.chunks.size(); }
  static uint64_t unit_weights(const View& view) { return view.chunk_weights(); }
  static uint64_t units_per_task(const View& view) {
    constexpr int kTaskBits = 17;
    return uint64_t{1} << std::max(0, kTaskBits - view.chunk_bits);
  }
  static void decode_units(const View& view, const void* elements, size_t element_bytes,
                           uint64_t first, uint64_t last, void* output) {
    decode_chunks(view, elements, element_bytes, first, last, output);
  }
};

}  // namespace

DecodeOp make_palette_decode_op(const ort::OrtApi* api, CachePolicy cache_policy) {
  return make_decode_op<PaletteCodec>(api, cache_policy);
}

}  // namespace wl
