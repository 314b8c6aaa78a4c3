#include "core/palette_encode.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>

#include "core/container.h"
#include "core/kernels/kernel.h"
#include "core/palette_blob.h"
#include "core/palette_contexts.h"
#include "core/palette_fit.h"
#include "core/parallel.h"

namespace wl {
namespace {

// A lane costs some bytes: it is worth that many of a chunk at least.
constexpr uint64_t kLaneBytes = 512;
// What a chunk should have: enough for all lanes, and weights enough to keep a thread busy.
constexpr uint64_t kChunkBytes = 64 * kLaneBytes;
constexpr int kUsualChunkBits = 18;

Status check_spec(const PaletteSpec& spec) {
  if (spec.num_weights < 1 || spec.num_weights > kMaxWeights) {
    return make_status(StatusCode::kInvalidArgument,
                       "the number of weights must be from 1 to 2^32 - 1, got %llu",
                       static_cast<unsigned long long>(spec.num_weights));
  }
  if (spec.num_clusters < 1 || spec.num_clusters > kMaxClusters) {
    return make_status(StatusCode::kInvalidArgument, "centroids must be from 1 to %u, got %u",
                       kMaxClusters, spec.num_clusters);
  }
  for (uint64_t i = 0; i < spec.num_weights; ++i) {
    if (spec.codes[i] >= spec.num_clusters) {
      return make_status(StatusCode::kInvalidArgument,
                         "codes must be below the %u centroids, got %u at place %llu",
                         spec.num_clusters, spec.codes[i], static_cast<unsigned long long>(i));
    }
  }
  return check_centroids(spec.codebook, spec.num_clusters, spec.codebook_type);
}

// How the symbols are cut into chunks and lanes.
struct StreamLayout {
  int chunk_bits = kMaxChunkBits;
  int lane_bits = 0;
};

StreamLayout plan_layout(const PaletteSpec& spec, const PaletteFit& fit) {
  const uint64_t num_bytes = fit.symbol_bits / 8;
  StreamLayout layout;
  layout.chunk_bits = kUsualChunkBits;
  const auto chunk_bytes = [&] {
    const uint64_t num_chunks = 1 + ((spec.num_weights - 1) >> layout.chunk_bits);
    return num_bytes / num_chunks;
  };
  while (spec.num_weights >> layout.chunk_bits != 0 && chunk_bytes() < kChunkBytes) {
    ++layout.chunk_bits;
  }
  while ((kLaneBytes << (layout.lane_bits + 1)) <= chunk_bytes() &&
         2U << layout.lane_bits <= kMaxPaletteLanes) {
    ++layout.lane_bits;
  }
  return layout;
}

struct Interval {
  uint32_t start;
  uint32_t frequency;
};

std::vector<Interval> find_intervals(const PaletteFit& fit, uint32_t num_symbols) {
  std::vector<Interval> intervals(fit.model.shares.size());
  std::vector<uint32_t> frequencies(num_symbols);
  for (size_t row = 0; row < intervals.size(); row += num_symbols) {
    to_frequencies(fit.model.shares.data() + row, num_symbols, fit.probability_bits,
                   frequencies.data());
    uint32_t start = 0;
    for (uint32_t s = 0; s < num_symbols; ++s) {
      intervals[row + s] = {start, frequencies[s]};
      start += frequencies[s];
    }
  }
  return intervals;
}

// The bytes of one chunk: states, then words.
class ChunkEncoder {
 public:
  ChunkEncoder(const PaletteSpec& spec, const PaletteFit& fit, const StreamLayout& layout,
               const std::vector<Interval>& intervals)
      : spec_(spec), fit_(fit), layout_(layout), intervals_(intervals) {}

  std::vector<uint8_t> encode(uint64_t chunk) const {
    const uint64_t begin = chunk << layout_.chunk_bits;
    const uint64_t end = std::min(spec_.num_weights, begin + (uint64_t{1} << layout_.chunk_bits));
    const std::vector<uint8_t> contexts = read_contexts(begin, end);
    const uint32_t num_lanes = 1U << layout_.lane_bits;
    std::vector<uint32_t> starts(num_lanes, 0);
    std::vector<uint32_t> states;
    std::vector<uint16_t> words;  // the last one first
    while (!encode_backwards(begin, end, contexts, &starts, &states, &words)) {
    }
    std::vector<uint8_t> bytes(4 * states.size() + 2 * words.size());
    std::reverse(words.begin(), words.end());
    std::memcpy(bytes.data(), states.data(), 4 * states.size());
    if (!words.empty()) {
      std::memcpy(bytes.data() + 4 * states.size(), words.data(), 2 * words.size());
    }
    return bytes;
  }

 private:
  // Each step undoes what the decoder does, which takes a word wherever a state is low and one is
  // left: behind the last word states may be low, before it none. So a lane may begin at 0, which
  // wastes nothing, if it has grown enough when a lane gives the last word. Where one has not, its
  // start is raised, and this gives false.
  bool encode_backwards(uint64_t begin, uint64_t end, const std::vector<uint8_t>& contexts,
                        std::vector<uint32_t>* starts, std::vector<uint32_t>* states,
                        std::vector<uint16_t>* words) const {
    const int bits = fit_.probability_bits;
    *states = *starts;
    words->clear();
    for (uint64_t i = end - begin; i-- > 0;) {
      uint32_t& state = (*states)[i & (states->size() - 1)];
      const size_t row = contexts.empty() ? 0 : size_t{contexts[i]} * spec_.num_clusters;
      const Interval& interval = intervals_[row + spec_.codes[begin + i]];
      if (state >= uint64_t{interval.frequency} << (32 - bits)) {
        if (words->empty() && raise_low(*states, starts)) return false;
        words->push_back(static_cast<uint16_t>(state));
        state >>= 16;
      }
      state = ((state / interval.frequency) << bits) + state % interval.frequency + interval.start;
    }
    return true;
  }

  static bool raise_low(const std::vector<uint32_t>& states, std::vector<uint32_t>* starts) {
    bool raised = false;
    for (size_t lane = 0; lane < states.size(); ++lane) {
      if (states[lane] >= kRansLow) continue;
      (*starts)[lane] = kRansLow;
      raised = true;
    }
    return raised;
  }

  std::vector<uint8_t> read_contexts(uint64_t begin, uint64_t end) const {
    std::vector<uint8_t> all;
    if (fit_.model.num_contexts() == 1) return all;
    all.reserve(static_cast<size_t>(end - begin));
    PaletteContexts reader(fit_.model, begin);
    for (uint64_t at = begin; at < end; at += kBlockWeights) {
      const uint32_t count = static_cast<uint32_t>(std::min<uint64_t>(kBlockWeights, end - at));
      const uint8_t* contexts = reader.read(count);
      all.insert(all.end(), contexts, contexts + count);
    }
    return all;
  }

  const PaletteSpec& spec_;
  const PaletteFit& fit_;
  const StreamLayout& layout_;
  const std::vector<Interval>& intervals_;
};

template <typename T>
void append(T value, std::vector<uint8_t>* bytes) {
  const size_t at = bytes->size();
  bytes->resize(at + sizeof(T));
  std::memcpy(bytes->data() + at, &value, sizeof(T));
}

void append_header(const PaletteSpec& spec, const PaletteFit& fit, const StreamLayout& layout,
                   std::vector<uint8_t>* bytes) {
  bytes->resize(kContainerHeaderBytes);
  begin_container(Codec::kPalette, spec.num_weights, bytes->data());
  const uint32_t scheme = static_cast<uint32_t>(fit.probability_bits) << 2 |
                          static_cast<uint32_t>(layout.lane_bits) << 6 |
                          static_cast<uint32_t>(layout.chunk_bits) << 9;
  append(static_cast<uint16_t>(scheme), bytes);
  append(static_cast<uint16_t>(spec.num_clusters - 1), bytes);
  append_palette_codebook(spec.codebook, spec.num_clusters, spec.codebook_type,
                          kContainerHeaderBytes, bytes);
  const size_t size = fit.side.size();
  if (size < 128) {
    append(static_cast<uint8_t>(size), bytes);
  } else {
    append(static_cast<uint8_t>(128 + (size >> 16)), bytes);
    append(static_cast<uint16_t>(size), bytes);
  }
  bytes->insert(bytes->end(), fit.side.begin(), fit.side.end());
}

Status construct(const PaletteSpec& spec, uint32_t num_threads, std::vector<uint8_t>* bytes) {
  const PaletteFit fit = fit_palette(spec);
  const StreamLayout layout = plan_layout(spec, fit);
  const std::vector<Interval> intervals = find_intervals(fit, spec.num_clusters);
  const uint64_t num_chunks = 1 + ((spec.num_weights - 1) >> layout.chunk_bits);
  std::vector<std::vector<uint8_t>> chunks(static_cast<size_t>(num_chunks));
  const ChunkEncoder encoder(spec, fit, layout, intervals);
  std::atomic<bool> out_of_memory{false};
  parallel_for(num_chunks, num_threads, [&](uint32_t, uint64_t chunk) {
    try {
      chunks[chunk] = encoder.encode(chunk);
    } catch (const std::bad_alloc&) {
      out_of_memory.store(true);
    }
  });
  if (out_of_memory.load()) throw std::bad_alloc();
  bytes->clear();
  append_header(spec, fit, layout, bytes);
  const size_t state_bytes = size_t{4} << layout.lane_bits;
  for (size_t i = 0; i + 1 < chunks.size(); ++i) {
    append(static_cast<uint32_t>((chunks[i].size() - state_bytes) / 2), bytes);
  }
  for (const std::vector<uint8_t>& chunk : chunks) {
    bytes->insert(bytes->end(), chunk.begin(), chunk.end());
  }
  return Status{};
}

}  // namespace

void append_palette_codebook(const float* codebook, uint32_t num_clusters, CodebookType type,
                             size_t scheme_at, std::vector<uint8_t>* bytes) {
  const size_t listed_bytes = num_clusters * size_t{type == CodebookType::kFloat16 ? 2U : 4U};
  RegularCodebook regular;
  const bool is_regular =
      listed_bytes > kRegularCodebookBytes && find_regular(codebook, num_clusters, type, &regular);
  const uint32_t form = (type == CodebookType::kFloat32 ? 1U : 0U) | (is_regular ? 2U : 0U);
  (*bytes)[scheme_at] = static_cast<uint8_t>(((*bytes)[scheme_at] & ~3U) | form);
  if (is_regular) {
    append_regular(regular, bytes);
  } else {
    append_codebook(codebook, num_clusters, type, bytes);
  }
}

Status encode_palette(const PaletteSpec& spec, uint32_t num_threads, std::vector<uint8_t>* bytes) {
  const Status status = check_spec(spec);
  if (!status.ok()) return status;
  try {
    return construct(spec, std::max(1U, num_threads), bytes);
  } catch (const std::bad_alloc&) {
    return make_status(StatusCode::kOutOfMemory, "memory ran out while the palette was encoded");
  }
}

}  // namespace wl
