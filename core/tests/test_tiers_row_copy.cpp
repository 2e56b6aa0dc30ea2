#include <algorithm>
#include <cstring>
#include <random>

#include "error.hpp"
#include "io/page_buffer.hpp"
#include "tests/check.hpp"
#include "tests/io_files.hpp"
#include "tiers/row_copy.hpp"

namespace outcrop::testing {
namespace {

// Rows of a tensor that begins anywhere, those not asked for included.
TEST(rows_are_gathered_and_inserted_byte_by_byte_at_every_width_and_place) {
  std::mt19937_64 random(3);
  for (const size_t row_bytes : {1, 4, 8, 16, 20, 32, 63, 64, 100, 127, 128, 130, 256, 400, 512, 1000, 5000})
    for (const bool streaming : {false, true})
      for (const size_t place : {0, 1, 16, 63}) {
        constexpr size_t kSlots = 50, kRows = 90;
        RowSlab slab(kSlots, row_bytes);
        const Bytes cached = random_bytes(kSlots * row_bytes, row_bytes);
        std::memcpy(slab.row(0), cached.data(), cached.size());
        Bytes memory = random_bytes(kRows * row_bytes + place, 7), expected = memory;
        std::vector<uint32_t> slots, rows(kRows);
        for (uint32_t i = 0; i < kRows; ++i) rows[i] = i;
        std::ranges::shuffle(rows, random);
        rows.resize(70);
        for (size_t i = 0; i < rows.size(); ++i) slots.push_back(uint32_t(random() % kSlots));
        for (size_t i = 0; i < rows.size(); ++i)
          std::memcpy(expected.data() + place + rows[i] * row_bytes, cached.data() + slots[i] * row_bytes, row_bytes);
        gather_rows(slab, slots, rows, memory.data() + place, streaming);
        CHECK(memory == expected);

        std::vector<uint32_t> targets(kSlots);
        for (uint32_t i = 0; i < kSlots; ++i) targets[i] = i;
        std::ranges::shuffle(targets, random);
        targets.resize(20);
        Bytes slab_after = cached;
        for (size_t i = 0; i < targets.size(); ++i)
          std::memcpy(slab_after.data() + targets[i] * row_bytes, memory.data() + place + rows[i] * row_bytes,
                      row_bytes);
        insert_rows(slab, targets, std::span(rows).first(20), memory.data() + place, streaming);
        CHECK(std::memcmp(slab.row(0), slab_after.data(), slab_after.size()) == 0);
      }
}

TEST(decoded_rows_are_what_decoding_the_gathered_rows_gives) {
  const RowFormat format = row_format(RowCodec::float16, 70);
  RowSlab slab(10, 70);
  const Bytes cached = random_bytes(10 * 70, 4);
  std::memcpy(slab.row(0), cached.data(), cached.size());
  const std::vector<uint32_t> slots = {9, 0, 9, 4}, rows = {3, 1, 0, 2};
  std::vector<float> found(4 * 35), expected(4 * 35);
  gather_decoded_rows(slab, slots, rows, format, found.data());
  for (size_t i = 0; i < 4; ++i)
    decode_rows(format, cached.data() + slots[i] * 70, 1, 70, expected.data() + rows[i] * 35);
  CHECK(std::memcmp(found.data(), expected.data(), found.size() * 4) == 0);
}

TEST(slabs_and_buffers_refuse_sizes_that_cannot_be) {
  CHECK_THROWS(RowSlab(1, 0), InvalidArgument, "at least 1 byte");
  CHECK_THROWS(RowSlab(uint64_t{1} << 33, 4), InvalidArgument, "more than");
  CHECK_THROWS(RowSlab(uint64_t{1} << 31, uint64_t{1} << 40), InvalidArgument, "more than");
  CHECK_THROWS(PageBuffer(size_t{1} << 62), ResourceExhausted, "");
  CHECK_EQUAL(RowSlab(0, 512).size_bytes(), uint64_t{0});
}

TEST(buffers_are_zero_and_begin_where_blocks_and_huge_pages_do) {
  for (const size_t bytes : {1, 4096, 5000, 2 << 20, (2 << 20) + 1, 10 << 20}) {
    const PageBuffer buffer(bytes);
    CHECK_EQUAL(buffer.size(), (bytes + 4095) / 4096 * 4096);
    CHECK_EQUAL(reinterpret_cast<size_t>(buffer.data()) % (bytes >= 2 << 20 ? 2 << 20 : 4096), size_t{0});
    CHECK(std::all_of(buffer.data(), buffer.data() + buffer.size(), [](std::byte b) { return b == std::byte{0}; }));
    std::memset(buffer.data(), 1, buffer.size());
  }
}

}  // namespace
}  // namespace outcrop::testing
