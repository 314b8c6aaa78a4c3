// The hot loops in plain C++, compiled once for each CPU target inside that target's own namespace
// (which the including file opens), vectorised by the compiler where it can.

inline uint64_t load64(const uint8_t* at) {
  uint64_t value;
  __builtin_memcpy(&value, at, sizeof(value));
  return value;
}

inline uint32_t parity(uint64_t x) { return static_cast<uint32_t>(__builtin_parityll(x)); }

// Maps the upper half of a hash evenly onto 0 .. range - 1.
inline uint32_t reduce(uint32_t hash, uint32_t range) { return ((hash >> 16) * range) >> 16; }

inline uint32_t murmur3(uint32_t key, uint32_t seed) {
  uint32_t k = key * 0xcc9e2d51U;
  k = ((k << 15) | (k >> 17)) * 0x1b873593U;
  uint32_t h = seed ^ k;
  h = ((h << 13) | (h >> 19)) * 5 + 0xe6546b64U;
  h ^= 4;
  h = (h ^ (h >> 16)) * 0x85ebca6bU;
  h = (h ^ (h >> 13)) * 0xc2b2ae35U;
  return h ^ (h >> 16);
}

void hash_range(uint32_t first, const uint16_t* order, uint32_t count, uint32_t seed,
                uint32_t* words) {
  if (order) {
    for (uint32_t i = 0; i < count; ++i) words[i] = murmur3(first + order[i], seed);
  } else {
    for (uint32_t i = 0; i < count; ++i) words[i] = murmur3(first + i, seed);
  }
}

void unpack_cells(const uint8_t* packed, uint32_t count, int bits, uint16_t* cells) {
  const uint32_t width = static_cast<uint32_t>(bits);
  const uint32_t mask = (1U << width) - 1;
  for (uint32_t i = 0; i < count; ++i) {
    const uint64_t bit = uint64_t{i} * width;
    cells[i] = static_cast<uint16_t>((load64(packed + (bit >> 3)) >> (bit & 7)) & mask);
  }
}

// The byte at which each bunch's band starts.
inline void find_starts(const RibbonQuery& query, uint16_t* starts) {
  const uint32_t num_starts = query.plane_bytes - 7;
  for (uint32_t bunch = 0; bunch < kBunches; ++bunch) {
    starts[bunch] = static_cast<uint16_t>(reduce(query.phase + (bunch << 25), num_starts));
  }
}

// The planes of bits [first_bit, end_bit).
struct PlaneRange {
  PlaneRange(const RibbonQuery& query, int first, int end)
      : first_bit(first),
        count(end - first),
        begin(query.planes +
              uint64_t{query.plane_bytes} * static_cast<uint32_t>(query.bits - end)) {}
  int first_bit;
  int count;
  const uint8_t* begin;  // of the highest
};

// Asks a ribbon through a Reader of one bunch's planes:
//   Reader(query, range)
//   uint32_t zeros(bunch, start): the slots of the bunch, as bits, for which all planes give 0
//   uint32_t codes(bunch, start, codes): writes what the planes give for each slot; the slots, as
//     bits, for which that is below num_clusters
// Most slots of a sparse tensor fail in the planes above the value bits, so the value planes are
// read only for the bunches that have a slot left.
template <typename Reader>
inline void query_ribbon_with(const RibbonQuery& query, Hits* hits) {
  uint16_t starts[kBunches];
  find_starts(query, starts);
  uint8_t alive[kBunches];
  uint8_t alive_bunches[kBunches];
  const Reader above(query, PlaneRange(query, query.value_bits, query.bits));
  uint32_t num_alive = 0;
  for (uint32_t bunch = 0; bunch < kBunches; ++bunch) {
    const uint32_t zeros = above.zeros(bunch, starts[bunch]);
    alive[bunch] = static_cast<uint8_t>(zeros);
    alive_bunches[num_alive] = static_cast<uint8_t>(bunch);
    num_alive += zeros != 0;
  }
  const Reader values(query, PlaneRange(query, 0, query.value_bits));
  uint32_t count = 0;
  for (uint32_t i = 0; i < num_alive; ++i) {
    const uint32_t bunch = alive_bunches[i];
    const uint32_t below = values.codes(bunch, starts[bunch], hits->codes + bunch * kBunchSlots);
    count = append_slots(bunch, below & alive[bunch], count, hits);
  }
  hits->count = count;
}

// The cell in which each bunch begins, in each segment.
inline void find_bases(const XorQuery& query, uint16_t bases[3][kBunches]) {
  for (uint32_t j = 0; j < 3; ++j) {
    for (uint32_t bunch = 0; bunch < kBunches; ++bunch) {
      const uint32_t hash = query.bases[j][bunch] + query.base_offsets[j];
      bases[j][bunch] = static_cast<uint16_t>(j * query.segment + reduce(hash, query.segment - 7));
    }
  }
}
