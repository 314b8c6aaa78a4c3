#include "core/bloomier_encode.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>

#include "core/bloomier_hash.h"
#include "core/container.h"
#include "core/kernels/targets.h"
#include "core/murmur3.h"
#include "core/parallel.h"
#include "core/ribbon_table.h"
#include "core/xor_table.h"

namespace wl {
namespace {

struct TablePlan {
  uint32_t units = 0;
  uint32_t attempt = 0;
  std::vector<uint8_t> bytes;
};

// A block as it is planned, and then its tables.
struct BlockPlan {
  uint64_t first_group = 0;
  uint64_t num_groups = 0;
  uint64_t first_key = 0;
  uint64_t num_keys = 0;
  std::vector<TablePlan> tables;
};

Status check_lengths(const BloomierSpec& spec) {
  for (uint32_t j = 0; j < spec.num_clusters; ++j) {
    if (spec.lengths[j] < 1 || spec.lengths[j] > kMaxCodeLength) {
      return make_status(StatusCode::kInvalidArgument,
                         "lengths of codes must be from 1 to %d, got %d for centroid %u",
                         kMaxCodeLength, spec.lengths[j], j);
    }
  }
  return Status{};
}

Status check_spec(const BloomierSpec& spec) {
  if (spec.num_weights < 1 || spec.num_weights > kMaxWeights) {
    return make_status(StatusCode::kInvalidArgument,
                       "the number of weights must be from 1 to 2^32 - 1, got %llu",
                       static_cast<unsigned long long>(spec.num_weights));
  }
  if (spec.num_clusters < 1 || spec.num_clusters > kMaxClusters) {
    return make_status(StatusCode::kInvalidArgument, "centroids must be from 1 to %u, got %u",
                       kMaxClusters, spec.num_clusters);
  }
  if (spec.layout == Layout::kPrefix) {
    const Status status = check_lengths(spec);
    if (!status.ok()) return status;
  } else if (spec.bits < 1 || spec.bits > kMaxBits || value_bits(spec.num_clusters) > spec.bits) {
    return make_status(
        StatusCode::kInvalidArgument, "bits must be from %d (for %u centroids) to %d, got %d",
        std::max(1, value_bits(spec.num_clusters)), spec.num_clusters, kMaxBits, spec.bits);
  }
  const Status status = check_centroids(spec.codebook, spec.num_clusters, spec.codebook_type);
  if (!status.ok()) return status;
  for (uint64_t i = 0; i < spec.num_keys; ++i) {
    if (spec.indices[i] >= spec.num_weights || (i > 0 && spec.indices[i] <= spec.indices[i - 1])) {
      return make_status(StatusCode::kInvalidArgument,
                         "indices must ascend strictly and be below %llu, got %u at place %llu",
                         static_cast<unsigned long long>(spec.num_weights), spec.indices[i],
                         static_cast<unsigned long long>(i));
    }
    if (spec.values[i] >= spec.num_clusters) {
      return make_status(StatusCode::kInvalidArgument,
                         "values must be below the %u centroids, got %u at place %llu",
                         spec.num_clusters, spec.values[i], static_cast<unsigned long long>(i));
    }
  }
  return Status{};
}

// Cuts the tensor into blocks of whole groups with about the same number of keys each.
std::vector<BlockPlan> plan_blocks(const BloomierSpec& spec) {
  const uint64_t num_groups = (spec.num_weights + kGroupSize - 1) / kGroupSize;
  const uint64_t wanted =
      std::max<uint64_t>(1, (spec.num_keys + kKeysPerBlock - 1) / kKeysPerBlock);
  std::vector<BlockPlan> blocks;
  BlockPlan block;
  const auto close = [&](uint64_t end_group, uint64_t end_key) {
    block.num_groups = end_group - block.first_group;
    block.num_keys = end_key - block.first_key;
    blocks.push_back(block);
    block.first_group = end_group;
    block.first_key = end_key;
  };
  for (uint64_t key = 0; key < spec.num_keys;) {
    const uint64_t group = spec.indices[key] / kGroupSize;
    uint64_t end = key;
    while (end < spec.num_keys && spec.indices[end] / kGroupSize == group) ++end;
    // Block b ends where b + 1 shares of the keys are reached, at a group's border.
    const uint64_t share = (blocks.size() + 1) * spec.num_keys / wanted;
    if (end > share && key > block.first_key && end - share > share - std::min(share, key)) {
      close(group, key);
    }
    key = end;
  }
  close(num_groups, spec.num_keys);
  return blocks;
}

// Builds tables; one for each thread.
class Builder {
 public:
  Builder(const BloomierSpec& spec, const PrefixCode& code, const Kernel& kernel)
      : spec_(spec),
        code_(code),
        slot_of_(slot_order(spec.hash).slot_of),
        words_{HashWord(spec.hash, kSlots, kernel), HashWord(spec.hash, kSlots, kernel)},
        bases_{HashWord(spec.hash, kBunches, kernel), HashWord(spec.hash, kBunches, kernel),
               HashWord(spec.hash, kBunches, kernel)} {}

  // False where no seed gives a table. Throws std::bad_alloc.
  bool build(BlockPlan* block) {
    block->tables.resize(spec_.layout == Layout::kPrefix ? code_.levels.size() : 1);
    if (block->num_keys == 0) return true;
    keys_.resize(block->num_keys);
    for (uint32_t attempt = 0; attempt < kMaxAttempts; ++attempt) {
      TablePlan* table = &block->tables[0];
      table->attempt = attempt;
      switch (spec_.layout) {
        case Layout::kRibbon:
          table->units = ribbon_units(block->num_keys, attempt);
          if (table->units == 0) return false;
          hash_ribbon_keys(*block, attempt);
          if (build_ribbon_table(keys_, spec_.bits, table)) return true;
          break;
        case Layout::kXor:
          table->units = xor_segment(block->num_keys, attempt);
          if (table->units == 0) return false;
          if (build_xor_table(*block, attempt, table)) return true;
          break;
        case Layout::kPrefix:
          table->units = level_units(block->num_keys, attempt);
          if (table->units == 0) return false;
          hash_ribbon_keys(*block, attempt);
          // The keys of the levels below are among those of the first: where they have no table,
          // another first one would not help.
          if (build_level(*block, 0, table)) return build_lower_levels(block);
          break;
      }
    }
    return false;
  }

 private:
  void hash_ribbon_keys(const BlockPlan& block, uint32_t attempt) {
    const BlockSeeds seeds = block_seeds(spec_.seed, attempt);
    words_[0].set_seeds(seeds.s[1], seeds.s[4]);
    words_[1].set_seeds(seeds.s[2], seeds.s[5]);
    fill_keys(block, [&](uint32_t group, uint32_t slot, TableKey* key) {
      key->hashes[0] = murmur3_32(group, seeds.s[0]) + (slot / kBunchSlots << 25);
      key->hashes[1] = words_[0].unit(group, slot);
      key->hashes[2] = words_[1].unit(group, slot);
      return (key->hashes[1] + key->hashes[2]) >> 16;
    });
  }

  bool build_ribbon_table(const std::vector<TableKey>& keys, int bits, TablePlan* table) {
    table->bytes.resize(table_bytes(Layout::kRibbon, table->units, bits));
    return build_ribbon(keys.data(), keys.size(), bits, table->units, &ribbon_,
                        table->bytes.data());
  }

  // The levels after the first: the same coefficients, and starts of their own.
  bool build_lower_levels(BlockPlan* block) {
    for (size_t i = 1; i < code_.levels.size(); ++i) {
      TablePlan* table = &block->tables[i];
      *table = TablePlan{};
      const uint64_t num_keys = num_keys_of_level(*block, i);
      if (num_keys == 0) continue;  // nor has any level after it
      bool built = false;
      for (uint32_t attempt = 0; attempt < kMaxAttempts && !built; ++attempt) {
        table->units = level_units(num_keys, attempt);
        table->attempt = attempt;
        built = table->units != 0 && build_level(*block, i, table);
      }
      if (!built) return false;
    }
    return true;
  }

  uint32_t length_of_key(const BlockPlan& block, uint64_t i) const {
    return spec_.lengths[spec_.values[block.first_key + i]];
  }

  uint64_t num_keys_of_level(const BlockPlan& block, size_t level) const {
    const uint32_t length = static_cast<uint32_t>(code_.levels[level].length);
    uint64_t count = 0;
    for (uint64_t i = 0; i < block.num_keys; ++i) count += length_of_key(block, i) >= length;
    return count;
  }

  // The planes between two lengths, for the keys whose codes reach them.
  bool build_level(const BlockPlan& block, size_t level, TablePlan* table) {
    const int end = code_.levels[level].length;
    const int bits = end - (level > 0 ? code_.levels[level - 1].length : 0);
    const uint32_t used = (1U << bits) - 1;
    const uint32_t phase_seed = block_seeds(spec_.seed, table->attempt).s[0];
    level_keys_.clear();
    for (uint64_t i = 0; i < block.num_keys; ++i) {
      if (length_of_key(block, i) < static_cast<uint32_t>(end)) continue;
      const uint32_t index = spec_.indices[block.first_key + i];
      const uint32_t slot = slot_of_[index % kGroupSize];
      TableKey key = keys_[i];
      key.hashes[0] = murmur3_32(index / kGroupSize, phase_seed) + (slot / kBunchSlots << 25);
      key.target = static_cast<uint16_t>((key.target >> (kMaxCodeLength - end)) & used);
      level_keys_.push_back(key);
    }
    return build_ribbon_table(level_keys_, bits, table);
  }

  bool build_xor_table(const BlockPlan& block, uint32_t attempt, TablePlan* table) {
    const BlockSeeds seeds = block_seeds(spec_.seed, attempt);
    for (uint32_t j = 0; j < 3; ++j) bases_[j].set_seeds(seeds.s[j], seeds.s[3 + j]);
    words_[0].set_seeds(seeds.s[6], seeds.s[7]);
    fill_keys(block, [&](uint32_t group, uint32_t slot, TableKey* key) {
      for (uint32_t j = 0; j < 3; ++j) {
        key->hashes[j] = bases_[j].unit(group, slot / kBunchSlots);
      }
      key->place = static_cast<uint16_t>(slot % kBunchSlots);
      return words_[0].unit(group, slot);
    });
    table->bytes.resize(table_bytes(Layout::kXor, table->units, spec_.bits));
    return build_xor(keys_.data(), keys_.size(), spec_.bits, table->units, &xor_,
                     table->bytes.data());
  }

  // hash_key(group, slot, key) fills in the key's hashes and gives its mask.
  template <typename HashKey>
  void fill_keys(const BlockPlan& block, const HashKey& hash_key) {
    const bool prefix = spec_.layout == Layout::kPrefix;
    const uint32_t used = prefix ? 0xffffU : (1U << spec_.bits) - 1;
    for (uint64_t i = 0; i < block.num_keys; ++i) {
      const uint32_t index = spec_.indices[block.first_key + i];
      const uint32_t slot = slot_of_[index % kGroupSize];
      const uint32_t mask = hash_key(index / kGroupSize, slot, &keys_[i]);
      const uint32_t value = spec_.values[block.first_key + i];
      keys_[i].target =
          static_cast<uint16_t>((mask & used) ^ (prefix ? code_.codes[value] : value));
    }
  }

  const BloomierSpec& spec_;
  const PrefixCode& code_;  // of the layout prefix
  const uint16_t* slot_of_;
  HashWord words_[2];
  HashWord bases_[3];
  std::vector<TableKey> keys_;        // of the block; prefix: targets are whole answers
  std::vector<TableKey> level_keys_;  // of one level of a prefix code
  RibbonScratch ribbon_;
  XorScratch xor_;
};

template <typename T>
void append(T value, std::vector<uint8_t>* bytes) {
  const size_t at = bytes->size();
  bytes->resize(at + sizeof(T));
  std::memcpy(bytes->data() + at, &value, sizeof(T));
}

void write_blob(const BloomierSpec& spec, int bits, const std::vector<BlockPlan>& blocks,
                std::vector<uint8_t>* bytes) {
  size_t size = kContainerHeaderBytes + kBloomierHeaderBytes + 5 * size_t{spec.num_clusters} +
                kContainerChecksumBytes;
  for (const BlockPlan& block : blocks) {
    size += kBlockGroupBytes;
    for (const TablePlan& table : block.tables) size += kTableHeaderBytes + table.bytes.size();
  }
  bytes->clear();
  bytes->reserve(size);
  bytes->resize(kContainerHeaderBytes);
  begin_container(Codec::kBloomier, spec.num_weights, bytes->data());
  append(static_cast<uint8_t>(spec.layout), bytes);
  append(static_cast<uint8_t>(spec.hash), bytes);
  append(static_cast<uint8_t>(bits), bytes);
  append(static_cast<uint8_t>(spec.codebook_type), bytes);
  append(spec.num_clusters, bytes);
  append(spec.seed, bytes);
  append(static_cast<uint32_t>(spec.num_keys), bytes);
  append(static_cast<uint32_t>(blocks.size()), bytes);
  append_codebook(spec.codebook, spec.num_clusters, spec.codebook_type, bytes);
  if (spec.layout == Layout::kPrefix) {
    for (uint32_t j = 0; j < spec.num_clusters; j += 2) {
      const int second = j + 1 < spec.num_clusters ? spec.lengths[j + 1] - 1 : 0;
      append(static_cast<uint8_t>((spec.lengths[j] - 1) | (second << 4)), bytes);
    }
  }
  for (const BlockPlan& block : blocks) {
    append(static_cast<uint32_t>(block.num_groups), bytes);
    for (const TablePlan& table : block.tables) {
      append(static_cast<uint16_t>(table.units), bytes);
      append(static_cast<uint8_t>(table.attempt), bytes);
    }
  }
  for (const BlockPlan& block : blocks) {
    for (const TablePlan& table : block.tables) {
      bytes->insert(bytes->end(), table.bytes.begin(), table.bytes.end());
    }
  }
}

Status construct(const BloomierSpec& spec, uint32_t num_threads, std::vector<uint8_t>* bytes) {
  PrefixCode code;
  const bool prefix = spec.layout == Layout::kPrefix;
  if (prefix && !make_prefix_code(spec.lengths, spec.num_clusters, &code)) {
    return make_status(StatusCode::kInvalidArgument,
                       "the sum of 2^-length over the centroids must be at most 1, got more");
  }
  std::vector<BlockPlan> blocks = plan_blocks(spec);
  const Kernel& kernel = current_kernel();
  const uint32_t workers =
      std::max<uint32_t>(1, static_cast<uint32_t>(std::min<uint64_t>(num_threads, blocks.size())));
  std::vector<Builder> builders(workers, Builder(spec, code, kernel));
  std::atomic<const BlockPlan*> failed{nullptr};
  std::atomic<bool> out_of_memory{false};
  parallel_for(blocks.size(), workers, [&](uint32_t worker, uint64_t task) {
    if (failed.load() || out_of_memory.load()) return;
    try {
      if (!builders[worker].build(&blocks[task])) failed.store(&blocks[task]);
    } catch (const std::bad_alloc&) {
      out_of_memory.store(true);
    }
  });
  if (out_of_memory.load()) throw std::bad_alloc();
  if (const BlockPlan* block = failed.load()) {
    return make_status(
        StatusCode::kFailed,
        "a table for the %llu keys from index %llu on must exist for one of %u seeds, "
        "got none",
        static_cast<unsigned long long>(block->num_keys),
        static_cast<unsigned long long>(block->first_group * kGroupSize), kMaxAttempts);
  }
  write_blob(spec, prefix ? code.max_length() : spec.bits, blocks, bytes);
  return Status{};
}

}  // namespace

Status encode_bloomier(const BloomierSpec& spec, uint32_t num_threads,
                       std::vector<uint8_t>* bytes) {
  const Status status = check_spec(spec);
  if (!status.ok()) return status;
  try {
    return construct(spec, num_threads, bytes);
  } catch (const std::bad_alloc&) {
    return make_status(StatusCode::kOutOfMemory, "memory ran out while the filter was constructed");
  }
}

}  // namespace wl
