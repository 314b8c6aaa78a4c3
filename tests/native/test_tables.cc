// The solvers of both tables, asked by a plain reading of FORMAT.md.
#include <algorithm>
#include <vector>

#include "check.h"
#include "core/bloomier_blob.h"
#include "core/kernels/kernel.h"
#include "core/kernels/targets.h"
#include "core/murmur3.h"
#include "core/ribbon_table.h"
#include "core/xor_table.h"

namespace wl {
namespace {

std::vector<TableKey> random_keys(size_t num_keys, int bits, uint32_t seed) {
  std::vector<TableKey> keys(num_keys);
  for (uint32_t i = 0; i < num_keys; ++i) {
    TableKey& key = keys[i];
    for (uint32_t j = 0; j < 3; ++j) key.hashes[j] = murmur3_32(4 * i + j, seed);
    key.target = static_cast<uint16_t>(murmur3_32(4 * i + 3, seed) & ((1U << bits) - 1));
    key.place = static_cast<uint16_t>(i % 8);
  }
  return keys;
}

uint32_t bit_at(const std::vector<uint8_t>& bytes, size_t at) {
  return (bytes[at / 8] >> (at % 8)) & 1U;
}

uint32_t ask_ribbon(const std::vector<uint8_t>& planes, const TableKey& key, int bits,
                    uint32_t units) {
  const size_t start = reduce_hash(key.hashes[0], units - 7);
  const uint64_t coefficients = key.hashes[1] + (uint64_t{key.hashes[2]} << 32);
  uint32_t answer = 0;
  for (int plane = 0; plane < bits; ++plane) {
    uint32_t parity = 0;
    for (size_t row = 0; row < 64; ++row) {
      const size_t at = 8 * (static_cast<size_t>(plane) * units + start) + row;
      parity ^= bit_at(planes, at) & static_cast<uint32_t>(coefficients >> row);
    }
    answer = 2 * answer + (parity & 1U);
  }
  return answer;
}

uint32_t ask_xor(const std::vector<uint8_t>& packed, const TableKey& key, int bits,
                 uint32_t segment) {
  uint32_t answer = 0;
  for (uint32_t j = 0; j < 3; ++j) {
    const size_t cell = j * segment + reduce_hash(key.hashes[j], segment - 7) + key.place;
    for (int bit = 0; bit < bits; ++bit) {
      const size_t at = cell * static_cast<size_t>(bits) + static_cast<size_t>(bit);
      answer ^= bit_at(packed, at) << bit;
    }
  }
  return answer;
}

void check_ribbons() {
  RibbonScratch scratch;
  for (const size_t num_keys : {0U, 1U, 7U, 300U, 4096U}) {
    for (const int bits : {1, 9, 16}) {
      uint32_t attempt = 0;
      for (; attempt < 100; ++attempt) {
        const std::vector<TableKey> keys = random_keys(num_keys, bits, attempt);
        const uint32_t units = ribbon_units(num_keys, attempt);
        CHECK(8 * size_t{units} >= num_keys);
        std::vector<uint8_t> planes(table_bytes(Layout::kRibbon, units, bits), 0xee);
        if (!build_ribbon(keys.data(), num_keys, bits, units, &scratch, planes.data())) {
          for (const uint8_t byte : planes) CHECK(byte == 0xee);
          continue;
        }
        for (const TableKey& key : keys) CHECK(ask_ribbon(planes, key, bits, units) == key.target);
        break;
      }
      CHECK(attempt < 100);
    }
  }
}

void check_xor_tables() {
  XorScratch scratch;
  for (const size_t num_keys : {0U, 1U, 7U, 300U, 4096U}) {
    for (const int bits : {1, 9, 16}) {
      uint32_t attempt = 0;
      for (; attempt < 100; ++attempt) {
        const std::vector<TableKey> keys = random_keys(num_keys, bits, attempt);
        const uint32_t segment = xor_segment(num_keys, attempt);
        std::vector<uint8_t> packed(table_bytes(Layout::kXor, segment, bits), 0xee);
        if (!build_xor(keys.data(), num_keys, bits, segment, &scratch, packed.data())) {
          for (const uint8_t byte : packed) CHECK(byte == 0xee);
          continue;
        }
        for (const TableKey& key : keys) CHECK(ask_xor(packed, key, bits, segment) == key.target);
        for (size_t at = 3 * size_t{segment} * static_cast<size_t>(bits); at < 8 * packed.size();
             ++at) {
          CHECK(bit_at(packed, at) == 0);
        }
        break;
      }
      CHECK(attempt < 100);
    }
  }
}

// Two keys of the same cells that want different answers have no table; of the same answer a ribbon
// has one.
void check_contradictions() {
  RibbonScratch ribbon;
  XorScratch cells;
  std::vector<TableKey> keys = random_keys(50, 9, 3);
  keys[49] = keys[20];
  std::vector<uint8_t> table(1 << 16);
  CHECK(build_ribbon(keys.data(), 50, 9, 40, &ribbon, table.data()));
  CHECK(ask_ribbon(table, keys[49], 9, 40) == keys[20].target);
  keys[49].target ^= 1;
  CHECK(!build_ribbon(keys.data(), 50, 9, 40, &ribbon, table.data()));
  CHECK(!build_xor(keys.data(), 50, 9, 40, &cells, table.data()));
}

// The size of a table decides its bytes, so it must be the same on every machine: whole numbers.
void check_sizes() {
  for (uint64_t attempt = 0; attempt < 256; ++attempt) {
    for (uint64_t num_keys = 0; num_keys < 10'500; ++num_keys) {
      const uint64_t segment =
          std::max<uint64_t>(8, ((1230 + 2 * attempt) * num_keys + 32'000) / 3000 + 1);
      const uint32_t got = xor_segment(num_keys, static_cast<uint32_t>(attempt));
      CHECK(got == (segment > kMaxXorSegment ? 0 : segment));
    }
  }
  CHECK(xor_segment(1'000'000'000, 0) == 0);
  CHECK(ribbon_units(0, 0) == 8);
  CHECK(ribbon_units(4096, 0) == (4096 + 56) / 8);
  CHECK(ribbon_units(8 * 65535 - 56, 0) == 65535);
  CHECK(ribbon_units(8 * 65535 - 55, 0) == 0);
  CHECK(table_bytes(Layout::kRibbon, 65535, 16) == 65535 * 16);
  CHECK(table_bytes(Layout::kXor, 9, 5) == (3 * 9 * 5 + 7) / 8);
  CHECK(value_bits(1) == 0 && value_bits(2) == 1 && value_bits(3) == 2 && value_bits(4096) == 12);
}

// Cells of every width, as each target unpacks them.
void check_unpacking() {
  std::vector<uint8_t> packed(2 * 200 + 7);
  for (uint32_t i = 0; i < packed.size(); ++i) packed[i] = static_cast<uint8_t>(murmur3_32(i, 5));
  for (const char* name : available_targets()) {
    CHECK(set_target(name));
    for (int bits = 1; bits <= 16; ++bits) {
      std::vector<uint16_t> cells(200);
      current_kernel().unpack_cells(packed.data(), 200, bits, cells.data());
      for (size_t i = 0; i < 200; ++i) {
        uint32_t expected = 0;
        for (int bit = 0; bit < bits; ++bit) {
          const size_t at = i * static_cast<size_t>(bits) + static_cast<size_t>(bit);
          expected |= bit_at(packed, at) << bit;
        }
        CHECK(cells[i] == expected);
      }
    }
  }
}

}  // namespace
}  // namespace wl

int main() {
  wl::check_ribbons();
  wl::check_xor_tables();
  wl::check_contradictions();
  wl::check_sizes();
  wl::check_unpacking();
  return 0;
}
