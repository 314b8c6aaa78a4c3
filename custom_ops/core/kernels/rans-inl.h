// rANS in plain C++, compiled once for each CPU target like generic-inl.h.

struct PackedSlots {
  static uint32_t advance(const RansStream& stream, uint32_t context, uint32_t state,
                          uint16_t* symbol) {
    const int bits = stream.probability_bits;
    const int symbol_bits = stream.symbol_bits;
    const uint32_t mask = (1U << bits) - 1;
    const uint32_t slot = stream.packed[(context << bits) | (state & mask)];
    *symbol = static_cast<uint16_t>(slot & ((1U << symbol_bits) - 1));
    // Both shifts are below 32: the bits are at least 8 and add up to 32 at most.
    const uint32_t frequency = ((slot >> symbol_bits) & mask) + 1;
    return frequency * (state >> bits) + (slot >> (symbol_bits + bits));
  }
};

struct WideSlots {
  static uint32_t advance(const RansStream& stream, uint32_t context, uint32_t state,
                          uint16_t* symbol) {
    const int bits = stream.probability_bits;
    const uint32_t slot = state & ((1U << bits) - 1);
    *symbol = stream.symbols[(context << bits) | slot];
    const uint32_t interval = stream.intervals[context * stream.num_symbols + *symbol];
    return (interval >> 16) * (state >> bits) + slot - (interval & 0xffffU);
  }
};

inline uint32_t load_word(const uint8_t* at) {
  uint16_t word;
  __builtin_memcpy(&word, at, sizeof(word));
  return word;
}

// Decodes `count` symbols, the first of them from lane 0.
template <typename Slots>
inline void decode_lanes(const RansStream& fixed, const uint8_t* contexts, uint32_t count,
                         RansStream* stream, uint16_t* symbols) {
  const uint32_t num_lanes = fixed.num_lanes;
  uint32_t states[kMaxRansLanes];
  __builtin_memcpy(states, stream->states, sizeof(states));
  const uint8_t* words = stream->words;
  const uint8_t* const end = stream->words_end;
  uint32_t i = 0;
  // As long as every lane may have a word, none has to ask whether one is left.
  while (count - i >= num_lanes && static_cast<uint64_t>(end - words) >= 2 * num_lanes) {
    for (uint32_t lane = 0; lane < num_lanes; ++lane, ++i) {
      const uint32_t state =
          Slots::advance(fixed, contexts ? contexts[i] : 0, states[lane], symbols + i);
      // Without a branch: which lanes take a word is as good as random.
      const uint32_t takes = state < kRansLow ? 1 : 0;
      states[lane] = state << (16 * takes) | (load_word(words) & (0U - takes));
      words += 2 * takes;
    }
  }
  for (uint32_t lane = 0; i < count; ++i, lane = (lane + 1) & (num_lanes - 1)) {
    uint32_t state = Slots::advance(fixed, contexts ? contexts[i] : 0, states[lane], symbols + i);
    if (state < kRansLow && words != end) {
      state = state << 16 | load_word(words);
      words += 2;
    }
    states[lane] = state;
  }
  __builtin_memcpy(stream->states, states, sizeof(states));
  stream->words = words;
}

void decode_rans_plain(const uint8_t* contexts, uint32_t count, RansStream* stream,
                       uint16_t* symbols) {
  const RansStream fixed = *stream;  // a copy that no store can change
  if (fixed.packed) {
    decode_lanes<PackedSlots>(fixed, contexts, count, stream, symbols);
  } else {
    decode_lanes<WideSlots>(fixed, contexts, count, stream, symbols);
  }
}

// Decodes as many symbols as Vectors of lanes at a time can; the rest one by one.
//   uint32_t Vectors::decode<n>(fixed, contexts, count, stream, symbols): n vectors; how many
//   symbols
//     it decoded, a multiple of the lanes
template <typename Vectors>
inline void decode_rans_with(const uint8_t* contexts, uint32_t count, RansStream* stream,
                             uint16_t* symbols) {
  const RansStream fixed = *stream;
  uint32_t done = 0;
  if (fixed.packed) {
    switch (fixed.num_lanes / Vectors::kLanes) {
      case 1:
        done = Vectors::template decode<1>(fixed, contexts, count, stream, symbols);
        break;
      case 2:
        done = Vectors::template decode<2>(fixed, contexts, count, stream, symbols);
        break;
      case 4:
        done = Vectors::template decode<4>(fixed, contexts, count, stream, symbols);
        break;
      case 8:
        done = Vectors::template decode<8>(fixed, contexts, count, stream, symbols);
        break;
      default:
        break;
    }
  }
  if (done < count) {
    decode_rans_plain(contexts ? contexts + done : contexts, count - done, stream, symbols + done);
  }
}
