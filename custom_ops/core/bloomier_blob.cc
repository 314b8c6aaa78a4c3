#include "core/bloomier_blob.h"

#include "core/payload_parser.h"

namespace wl {
namespace {

class Parser : private PayloadParser {
 public:
  Parser(const Container& container, BloomierView* view) : PayloadParser(container), view_(*view) {
    view_ = BloomierView{};
    view_.num_weights = container.num_weights;
  }

  Status parse() {
    Status status = parse_header();
    if (status.ok()) status = parse_codebook();
    if (status.ok() && view_.layout == Layout::kPrefix) status = parse_lengths();
    if (status.ok()) status = parse_block_headers();
    if (status.ok()) status = locate_tables();
    return status;
  }

 private:
  Status parse_header() {
    const uint8_t layout = reader_.read<uint8_t>();
    const uint8_t hash = reader_.read<uint8_t>();
    const uint8_t bits = reader_.read<uint8_t>();
    const uint8_t codebook_type = reader_.read<uint8_t>();
    view_.num_clusters = reader_.read<uint32_t>();
    view_.seed = reader_.read<uint32_t>();
    view_.num_keys = reader_.read<uint32_t>();
    num_blocks_ = reader_.read<uint32_t>();
    if (reader_.failed()) return cut_short("the filter's header must have 20 bytes");
    if (layout < 1 || layout > 3) return damaged("the layout must be 1, 2 or 3", 0, layout);
    if (hash != 1 && hash != 2) return damaged("the hash must be 1 or 2", 1, hash);
    if (bits < 1 || bits > kMaxBits) return damaged("bits must be from 1 to 16", 2, bits);
    if (codebook_type != 1 && codebook_type != 10) {
      return damaged("the codebook's type must be 1 or 10", 3, codebook_type);
    }
    if (view_.num_clusters < 1 || view_.num_clusters > kMaxClusters) {
      return damaged("clusters must be from 1 to 4096", 4, view_.num_clusters);
    }
    if (value_bits(view_.num_clusters) > bits) {
      return damaged("clusters must be at most 2^bits", 4, view_.num_clusters);
    }
    if (view_.num_keys > view_.num_weights) {
      return damaged("keys must be no more than weights", 12, view_.num_keys);
    }
    if (num_blocks_ < 1 || num_blocks_ > view_.num_groups()) {
      return damaged("blocks must be from 1 to the number of groups", 16, num_blocks_);
    }
    view_.layout = static_cast<Layout>(layout);
    view_.hash = static_cast<Hash>(hash);
    view_.bits = bits;
    view_.codebook_type = static_cast<CodebookType>(codebook_type);
    return Status{};
  }

  Status parse_codebook() {
    return read_codebook(&reader_, view_.codebook_type, view_.num_clusters, kContainerHeaderBytes,
                         &view_.codebook);
  }

  // Two lengths a byte, each less 1, the first in the lower half.
  Status parse_lengths() {
    const size_t at = reader_.offset();
    const uint32_t count = view_.num_clusters;
    const uint8_t* packed = reader_.skip((count + 1) / 2);
    if (reader_.failed()) return cut_short("the lengths of the codes must be complete");
    std::vector<uint8_t> lengths(count);
    for (uint32_t j = 0; j < count; ++j) {
      lengths[j] = static_cast<uint8_t>(1 + ((packed[j / 2] >> (4 * (j % 2))) & 0xf));
    }
    if (count % 2 != 0 && packed[count / 2] >> 4 != 0) {
      return damaged("the bits behind the last length must be 0", at + count / 2,
                     packed[count / 2]);
    }
    if (!make_prefix_code(lengths.data(), count, &view_.code)) {
      return damaged("the sum of 2^-length over the codes must be at most 1", at, count);
    }
    if (view_.code.max_length() != view_.bits) {
      return damaged("bits must be the length of the longest code", 2,
                     static_cast<unsigned>(view_.bits));
    }
    std::vector<float> ordered(count);
    for (uint32_t place = 0; place < count; ++place) {
      ordered[place] = view_.codebook[view_.code.order[place]];
    }
    view_.codebook.swap(ordered);
    return Status{};
  }

  Status parse_block_headers() {
    const size_t per_block = view_.tables_per_block();
    const uint64_t header_bytes = kBlockGroupBytes + kTableHeaderBytes * per_block;
    if (num_blocks_ * header_bytes > reader_.remaining()) {
      return cut_short("the blocks' headers must be complete");
    }
    view_.blocks.reserve(num_blocks_);
    view_.tables.reserve(num_blocks_ * per_block);
    uint64_t next_group = 0;
    for (uint32_t i = 0; i < num_blocks_; ++i) {
      const size_t at = reader_.offset();
      BloomierBlock block{};
      block.first_group = next_group;
      block.num_groups = reader_.read<uint32_t>();
      block.first_table = view_.tables.size();
      if (block.num_groups < 1 || block.num_groups > view_.num_groups() - next_group) {
        return damaged("a block's groups must lie in the tensor", at, block.num_groups);
      }
      for (size_t j = 0; j < per_block; ++j) {
        const Status status = parse_table_header(j == 0);
        if (!status.ok()) return status;
      }
      next_group += block.num_groups;
      view_.blocks.push_back(block);
    }
    if (next_group != view_.num_groups()) {
      return damaged("the blocks must cover all groups of the tensor", reader_.offset(),
                     next_group);
    }
    return Status{};
  }

  Status parse_table_header(bool first_of_block) {
    const size_t at = reader_.offset();
    BloomierTable table{};
    table.units = reader_.read<uint16_t>();
    table.attempt = reader_.read<uint8_t>();
    const bool possible =
        table.units == 0 || (table.units >= kBandBytes &&
                             (view_.layout != Layout::kXor || table.units <= kMaxXorSegment));
    if (!possible) return damaged("a block's table must be of a possible size", at, table.units);
    if (!first_of_block && table.units != 0 && view_.tables.back().units == 0) {
      return damaged("no table may follow one without keys", at, table.units);
    }
    view_.tables.push_back(table);
    return Status{};
  }

  // The bits of the last byte of an xor table that belong to no cell.
  unsigned padding(const BloomierTable& table) const {
    const uint64_t num_bits = 3 * uint64_t{table.units} * static_cast<unsigned>(view_.bits);
    return num_bits % 8 == 0 ? 0 : table.bytes[num_bits / 8] >> (num_bits % 8);
  }

  Status locate_tables() {
    const size_t per_block = view_.tables_per_block();
    for (size_t i = 0; i < view_.tables.size(); ++i) {
      BloomierTable& table = view_.tables[i];
      const size_t at = reader_.offset();
      const int planes = view_.table_planes(i % per_block);
      table.bytes = reader_.skip(table_bytes(view_.layout, table.units, planes));
      if (reader_.failed()) return cut_short("a block's table must be complete");
      if (view_.layout == Layout::kXor && padding(table) != 0) {
        return damaged("the bits behind the last cell of a table must be 0", at, padding(table));
      }
    }
    if (reader_.remaining() != 0) {
      return damaged("nothing may follow the last table", reader_.offset(), reader_.remaining());
    }
    return Status{};
  }

  BloomierView& view_;
  uint32_t num_blocks_ = 0;
};

}  // namespace

uint64_t table_bytes(Layout layout, uint32_t units, int bits) {
  const uint64_t planes = static_cast<uint64_t>(bits);
  if (layout != Layout::kXor) return units * planes;
  return (3 * uint64_t{units} * planes + 7) / 8;
}

Status parse_bloomier(const uint8_t* blob, size_t size, BloomierView* view) {
  return parse_payload<Parser>(blob, size, Codec::kBloomier, view);
}

}  // namespace wl
