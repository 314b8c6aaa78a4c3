#include "core/kernels/kernel.h"

namespace wl {
namespace baseline {
namespace {

// Appends the slots of a bunch whose bit in `accepted` is set.
inline uint32_t append_slots(uint32_t bunch, uint32_t accepted, uint32_t count, Hits* hits) {
  for (uint32_t i = 0; i < kBunchSlots; ++i) {
    hits->slots[count] = static_cast<uint16_t>(bunch * kBunchSlots + i);
    count += (accepted >> i) & 1U;
  }
  return count;
}

#include "core/kernels/generic-inl.h"
#include "core/kernels/rans-inl.h"

// On the functions above.
#include "core/kernels/prefix-inl.h"

// Four slots as a vector of the compiler's own: SSE2, NEON or whatever the CPU surely has.
typedef uint32_t Quad __attribute__((vector_size(16)));

inline Quad load_quad(const uint32_t* at) {
  Quad quad;
  __builtin_memcpy(&quad, at, sizeof(quad));
  return quad;
}

class Reader {
 public:
  Reader(const RibbonQuery& query, const PlaneRange& range) : query_(query), range_(range) {}

  uint32_t zeros(uint32_t bunch, uint32_t start) const {
    uint32_t found = 0;
    for (uint32_t i = 0; i < kBunchSlots; i += 4) {
      const Quad bits = read(bunch * kBunchSlots + i, start);
      for (uint32_t k = 0; k < 4; ++k) found |= uint32_t{bits[k] == 0} << (i + k);
    }
    return found;
  }

  uint32_t codes(uint32_t bunch, uint32_t start, uint16_t* codes) const {
    uint32_t found = 0;
    for (uint32_t i = 0; i < kBunchSlots; i += 4) {
      const Quad bits = read(bunch * kBunchSlots + i, start);
      for (uint32_t k = 0; k < 4; ++k) {
        codes[i + k] = static_cast<uint16_t>(bits[k]);
        found |= uint32_t{bits[k] < query_.num_clusters} << (i + k);
      }
    }
    return found;
  }

 private:
  Quad read(uint32_t slot, uint32_t start) const {
    const Quad low = load_quad(query_.low + slot) + query_.low_offset;
    const Quad high = load_quad(query_.high + slot) + query_.high_offset;
    Quad bits = {};
    const uint8_t* at = range_.begin + start;
    for (int left = range_.count; left > 0; --left, at += query_.plane_bytes) {
      const uint64_t rows = load64(at);
      Quad x = (low & static_cast<uint32_t>(rows)) ^ (high & static_cast<uint32_t>(rows >> 32));
      x ^= x >> 16;
      x ^= x >> 8;
      x ^= x >> 4;
      x ^= x >> 2;
      x ^= x >> 1;
      bits = (bits << 1) | (x & 1U);
    }
    const uint32_t used = (1U << range_.count) - 1;
    return (bits ^ ((low + high) >> (16 + range_.first_bit))) & used;
  }

  const RibbonQuery& query_;
  const PlaneRange range_;
};

void query_ribbon(const RibbonQuery& query, Hits* hits) { query_ribbon_with<Reader>(query, hits); }

void query_prefix(const PrefixQuery& query, Hits* hits) { query_prefix_with<Reader>(query, hits); }

void query_xor(const XorQuery& query, Hits* hits) {
  uint16_t bases[3][kBunches];
  find_bases(query, bases);
  const uint32_t used = (1U << query.bits) - 1;
  uint32_t count = 0;
  for (uint32_t bunch = 0; bunch < kBunches; ++bunch) {
    const uint16_t* cells0 = query.cells + bases[0][bunch];
    const uint16_t* cells1 = query.cells + bases[1][bunch];
    const uint16_t* cells2 = query.cells + bases[2][bunch];
    uint32_t below = 0;
    for (uint32_t i = 0; i < kBunchSlots; ++i) {
      const uint32_t slot = bunch * kBunchSlots + i;
      const uint32_t mask = query.masks[slot] + query.mask_offset;
      const uint32_t code = (mask ^ cells0[i] ^ cells1[i] ^ cells2[i]) & used;
      hits->codes[slot] = static_cast<uint16_t>(code);
      below |= uint32_t{code < query.num_clusters} << i;
    }
    count = append_slots(bunch, below, count, hits);
  }
  hits->count = count;
}

void stream(const uint8_t* input, uint32_t num_bytes, uint8_t* output) {
  __builtin_memcpy(output, input, num_bytes);
}

}  // namespace
}  // namespace baseline

const Kernel kKernelBaseline = {"baseline",
                                baseline::hash_range,
                                baseline::unpack_cells,
                                baseline::query_ribbon,
                                baseline::query_prefix,
                                {0, 0, nullptr},
                                baseline::query_xor,
                                baseline::decode_rans_plain,
                                baseline::stream,
                                &kNoiseBaseline,
                                &kResponseBaseline};

}  // namespace wl
