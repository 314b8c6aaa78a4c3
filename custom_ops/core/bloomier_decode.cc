#include "core/bloomier_decode.h"

#include <algorithm>
#include <cstring>

#include "core/bloomier_hash.h"
#include "core/kernels/targets.h"
#include "core/murmur3.h"

namespace wl {
namespace {

static_assert(kSlots == kGroupSize, "the kernels' group is the format's");

constexpr size_t kMaxElementBytes = 8;

template <typename Element>
void scatter(const Hits& hits, const uint16_t* lane_of, const void* elements, uint32_t count,
             void* output) {
  const Element* centroids = static_cast<const Element*>(elements);
  Element* weights = static_cast<Element*>(output);
  for (uint32_t i = 0; i < hits.count; ++i) {
    const uint32_t slot = hits.slots[i];
    const uint32_t lane = lane_of[slot];
    if (lane < count) weights[lane] = centroids[hits.codes[slot]];  // the last group may be shorter
  }
}

// Answers the queries of one block after another.
class BlockReader {
 public:
  explicit BlockReader(const BloomierView& view)
      : view_(view),
        kernel_(current_kernel()),
        value_bits_(value_bits(view.num_clusters)),
        words_{HashWord(view.hash, kSlots, kernel_), HashWord(view.hash, kSlots, kernel_)},
        bases_{HashWord(view.hash, kBunches, kernel_), HashWord(view.hash, kBunches, kernel_),
               HashWord(view.hash, kBunches, kernel_)} {}

  void open(const BloomierBlock& block) {
    table_ = &view_.tables[block.first_table];
    if (table_->units == 0) return;
    seeds_ = block_seeds(view_.seed, table_->attempt);
    if (view_.layout != Layout::kXor) {
      words_[0].set_seeds(seeds_.s[1], seeds_.s[4]);
      words_[1].set_seeds(seeds_.s[2], seeds_.s[5]);
      if (view_.layout == Layout::kPrefix) open_levels();
    } else {
      for (uint32_t j = 0; j < 3; ++j) bases_[j].set_seeds(seeds_.s[j], seeds_.s[3 + j]);
      words_[0].set_seeds(seeds_.s[6], seeds_.s[7]);
      kernel_.unpack_cells(table_->bytes, 3 * table_->units, view_.bits, tables_.cells);
    }
  }

  const Hits& query(uint32_t group) {
    if (table_->units == 0) {
      hits_.count = 0;
    } else if (view_.layout == Layout::kPrefix) {
      query_prefix(group);
    } else if (view_.layout == Layout::kRibbon) {
      query_ribbon(group);
    } else {
      query_xor(group);
    }
    return hits_;
  }

 private:
  void query_ribbon(uint32_t group) {
    const HashWord::Words low = words_[0].group(group);
    const HashWord::Words high = words_[1].group(group);
    RibbonQuery query;
    query.low = low.words;
    query.low_offset = low.offset;
    query.high = high.words;
    query.high_offset = high.offset;
    query.phase = murmur3_32(group, seeds_.s[0]);
    query.planes = table_->bytes;
    query.plane_bytes = table_->units;
    query.bits = view_.bits;
    query.value_bits = value_bits_;
    query.num_clusters = view_.num_clusters;
    kernel_.query_ribbon(query, &hits_);
  }

  // The levels of a block that have keys; codes beyond them stand for no weight of the block.
  void open_levels() {
    int num_levels = 0;
    uint32_t limit = 0;
    for (size_t i = 0; i < view_.code.levels.size() && table_[i].units != 0; ++i) {
      const CodeLevel& code = view_.code.levels[i];
      const uint32_t phase_seed = block_seeds(view_.seed, table_[i].attempt).s[0];
      const uint8_t* planes = table_[i].bytes;
      int end = code.length - view_.table_planes(i);
      while (end < code.length) {
        PrefixLevel& level = levels_[num_levels];
        level.planes = planes;
        level.plane_bytes = table_[i].units;
        level.num_planes = std::min(code.length - end, kLevelPlanes);
        end += level.num_planes;
        level.end = end;
        level.limit = limit;  // nothing but codes that were complete before
        level.rank_offset = 0;
        planes += size_t{level.plane_bytes} * static_cast<uint32_t>(level.num_planes);
        phase_seeds_[num_levels++] = phase_seed;
      }
      limit = code.limit;
      levels_[num_levels - 1].limit = limit;
      levels_[num_levels - 1].rank_offset = code.num_codes - (limit >> (kMaxCodeLength - end));
    }
    for (int i = 0; i < num_levels; ++i) {
      const uint32_t unread = 0xffffU >> levels_[i].end;
      levels_[i].open_limit = (limit + unread) & ~unread;
    }
    int value_bits = kMaxCodeLength;  // without the zeros before the first 1 of an accepted answer
    while (value_bits > kMaxCodeLength - levels_[0].end && limit <= 1U << (value_bits - 1)) {
      --value_bits;
    }
    prefix_.top.planes = levels_[0].planes;
    prefix_.top.plane_bytes = levels_[0].plane_bytes;
    prefix_.top.bits = kMaxCodeLength;
    prefix_.top.value_bits = value_bits;
    prefix_.top.num_clusters = view_.num_clusters;
    prefix_.levels = levels_;
    prefix_.num_levels = num_levels;
    prefix_.is_prepared = prepare_levels();
  }

  // False where the kernel has no form of its own or there is no room for it.
  bool prepare_levels() {
    const PreparedPlanes& form = kernel_.prepared;
    if (form.first_bytes == 0) return false;
    uint8_t* next = tables_.prepared;
    for (int i = 0; i < prefix_.num_levels; ++i) {
      PrefixLevel& level = levels_[i];
      const uint64_t size =
          uint64_t{level.plane_bytes} * (i > 0 ? form.lower_bytes : form.first_bytes);
      if (size == 0) break;
      if (size > static_cast<uint64_t>(tables_.prepared + kPreparedBytes - next)) return false;
      form.prepare(level.planes, level.plane_bytes, level.num_planes, next);
      level.prepared = next;
      next += size;
    }
    return true;
  }

  void query_prefix(uint32_t group) {
    const HashWord::Words low = words_[0].group(group);
    const HashWord::Words high = words_[1].group(group);
    prefix_.top.low = low.words;
    prefix_.top.low_offset = low.offset;
    prefix_.top.high = high.words;
    prefix_.top.high_offset = high.offset;
    for (int i = 0; i < prefix_.num_levels; ++i) {
      levels_[i].phase = murmur3_32(group, phase_seeds_[i]);
    }
    prefix_.top.phase = levels_[0].phase;
    kernel_.query_prefix(prefix_, &hits_);
  }

  void query_xor(uint32_t group) {
    XorQuery query;
    for (uint32_t j = 0; j < 3; ++j) {
      const HashWord::Words bases = bases_[j].group(group);
      query.bases[j] = bases.words;
      query.base_offsets[j] = bases.offset;
    }
    const HashWord::Words masks = words_[0].group(group);
    query.masks = masks.words;
    query.mask_offset = masks.offset;
    query.cells = tables_.cells;
    query.segment = table_->units;
    query.bits = view_.bits;
    query.num_clusters = view_.num_clusters;
    kernel_.query_xor(query, &hits_);
  }

  const BloomierView& view_;
  const Kernel& kernel_;
  const int value_bits_;
  HashWord words_[2];
  HashWord bases_[3];
  BlockSeeds seeds_;
  const BloomierTable* table_ = nullptr;  // the first of the block
  PrefixQuery prefix_;
  PrefixLevel levels_[kMaxCodeLength];
  uint32_t phase_seeds_[kMaxCodeLength];
  Hits hits_;
  alignas(64) union {  // whatever the layout needs
    uint16_t cells[3 * kMaxXorSegment];
    uint8_t prepared[kPreparedBytes];
  } tables_;
};

}  // namespace

void decode_groups(const BloomierView& view, const void* elements, size_t element_bytes,
                   uint64_t first, uint64_t last, void* output) {
  auto block = std::upper_bound(
      view.blocks.begin(), view.blocks.end(), first,
      [](uint64_t group, const BloomierBlock& b) { return group < b.first_group + b.num_groups; });
  BlockReader reader(view);
  const Kernel& kernel = current_kernel();
  const uint16_t* lane_of = slot_order(view.hash).lane_of;
  const bool streams = view.num_weights * element_bytes >= kStreamedBytes;
  alignas(64) uint8_t buffer[kGroupSize * kMaxElementBytes];
  uint8_t* out = static_cast<uint8_t*>(output);
  for (uint64_t group = first; group < last; ++block) {
    reader.open(*block);
    const uint64_t end = std::min(last, block->first_group + block->num_groups);
    for (; group < end; ++group) {
      const uint32_t count = static_cast<uint32_t>(
          std::min<uint64_t>(kGroupSize, view.num_weights - group * kGroupSize));
      const uint32_t num_bytes = count * static_cast<uint32_t>(element_bytes);
      const Hits& hits = reader.query(static_cast<uint32_t>(group));
      uint8_t* target = streams ? buffer : out;
      std::memset(target, 0, num_bytes);
      switch (element_bytes) {
        case 2:
          scatter<uint16_t>(hits, lane_of, elements, count, target);
          break;
        case 4:
          scatter<uint32_t>(hits, lane_of, elements, count, target);
          break;
        default:
          scatter<uint64_t>(hits, lane_of, elements, count, target);
          break;
      }
      if (streams) kernel.stream(buffer, num_bytes, out);
      out += num_bytes;
    }
  }
}

}  // namespace wl
