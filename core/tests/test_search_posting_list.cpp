#include <cstring>
#include <random>

#include "error.hpp"
#include "search/posting_list.hpp"
#include "tests/check.hpp"
#include "tests/io_files.hpp"

namespace outcrop::testing {
namespace {

// Two lists of 5 and 3 entries, of which 3 and 0 are primary.
struct Packed {
  ListShape shape;
  std::vector<uint32_t> entries{5, 3}, primary{3, 0};
  std::vector<uint64_t> first_rows{10, 13};
  Bytes codes;
  std::vector<int64_t> ids;
  std::vector<uint64_t> rows;
  Bytes bytes;
  size_t first_length = 0;

  Packed(uint32_t code_bytes, uint8_t id_bytes, uint8_t row_bytes) : shape{code_bytes, id_bytes, row_bytes} {
    codes = random_bytes(8 * code_bytes, 5);
    const int64_t base = id_bytes == 8 ? int64_t{1} << 40 : 0;
    for (int i = 0; i < 8; i++) ids.push_back(base + 100 + i), rows.push_back(1000 + static_cast<uint64_t>(i));
    bytes.resize(packed_bytes(shape, entries, primary));
    first_length = packed_bytes(shape, {entries.data(), 1}, {primary.data(), 1});
    pack_lists(shape, {7, entries, primary, first_rows, codes.data(), ids.data(), rows.data()}, bytes);
  }

  std::span<const std::byte> list(size_t i) const {
    return i == 0 ? std::span(bytes).first(first_length) : std::span(bytes).subspan(first_length);
  }
};

void check_entries(const Packed& packed) {
  size_t entry = 0;
  for (uint32_t i = 0; i < 2; i++) {
    const ListView view(packed.list(i), 7 + i, packed.shape, "postings.blk");
    REQUIRE(view.num_entries() == packed.entries[i]);
    CHECK_EQUAL(view.num_primary(), packed.primary[i]);
    CHECK_EQUAL(view.first_row(), packed.first_rows[i]);
    const size_t width = packed.shape.code_bytes;
    CHECK(std::memcmp(view.codes(), packed.codes.data() + entry * width, view.num_entries() * width) == 0);
    for (size_t e = 0; e < view.num_entries(); e++, entry++) {
      CHECK_EQUAL(view.id(e), packed.ids[entry]);
      const bool is_primary = e < packed.primary[i];
      const uint64_t copy_row = packed.shape.row_bytes == 0 ? 0 : packed.rows[entry];
      CHECK_EQUAL(view.row(e), is_primary ? packed.first_rows[i] + e : copy_row);
    }
  }
}

TEST(posting_lists_give_back_what_was_packed) {
  for (uint32_t code_bytes : {1u, 7u, 128u})
    for (uint8_t id_bytes : {uint8_t{4}, uint8_t{8}})
      for (uint8_t row_bytes : {uint8_t{0}, uint8_t{4}, uint8_t{8}}) {
        const Packed packed(code_bytes, id_bytes, row_bytes);
        CHECK_EQUAL(packed.bytes.size() % kListAlignment, size_t{0});
        check_entries(packed);
      }
}

TEST(posting_list_without_entries_is_a_header) {
  const ListShape shape{16, 4, 0};
  const uint32_t none[1] = {0};
  const uint64_t row[1] = {5};
  Bytes bytes(packed_bytes(shape, none, none));
  CHECK_EQUAL(bytes.size(), sizeof(ListHeader));
  const std::byte no_code[1] = {};
  const int64_t no_id[1] = {};
  pack_lists(shape, {0, none, none, row, no_code, no_id, row}, bytes);
  CHECK_EQUAL(ListView(bytes, 0, shape, "f").num_entries(), uint32_t{0});
}

TEST(posting_list_refuses_another_length_number_or_shape) {
  const Packed packed(16, 4, 4);
  const auto list = packed.list(0);
  for (size_t length = 0; length < list.size(); length++)
    CHECK_THROWS(ListView(list.first(length), 7, packed.shape, "postings.blk"), CorruptFile,
                 "postings.blk: posting list 7: ");
  CHECK_THROWS(ListView(std::span(packed.bytes), 7, packed.shape, "f"), CorruptFile, "the directory gives it");
  CHECK_THROWS(ListView(list, 8, packed.shape, "f"), CorruptFile, "holds list 7");
  for (ListShape other : {ListShape{15, 4, 4}, ListShape{16, 8, 4}, ListShape{16, 4, 0}})
    CHECK_THROWS(ListView(list, 7, other, "f"), CorruptFile, "entry widths");
}

TEST(posting_list_with_sections_of_later_versions_is_unsupported) {
  for (size_t offset : {offsetof(ListHeader, version_bytes), offsetof(ListHeader, num_columns)}) {
    Packed packed(16, 4, 4);
    packed.bytes[offset] = std::byte{1};
    CHECK_THROWS(ListView(packed.list(0), 7, packed.shape, "f"), UnsupportedFormat, "upgrade");
  }
}

// Nothing is read beyond the list, whatever its header says: under the address sanitizer this is proof.
TEST(posting_list_with_any_flipped_bit_in_its_header_is_refused_or_stays_within_its_bytes) {
  const Packed packed(16, 4, 4);
  const size_t first_row = offsetof(ListHeader, first_row);
  for (size_t bit = 0; bit < 8 * sizeof(ListHeader); bit++) {
    Bytes list(packed.list(0).begin(), packed.list(0).end());
    list[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    try {
      const ListView view(list, 7, packed.shape, "f");
      // What the widths cannot contradict: first_row, and counts whose padding comes to the same length.
      const bool is_count = bit / 8 >= offsetof(ListHeader, num_entries) && bit / 8 < first_row;
      const bool is_row = bit / 8 >= first_row && bit / 8 < first_row + 8;
      CHECK(is_row || is_count);
      uint64_t sum = 0;
      for (size_t e = 0; e < view.num_entries(); e++) sum += static_cast<uint64_t>(view.id(e)) + view.row(e);
      sum += view.num_entries() == 0 ? 0 : static_cast<uint64_t>(view.codes()[view.num_entries() * 16 - 1]);
      CHECK(sum != ~uint64_t{0});
    } catch (const CorruptFile&) {
    } catch (const UnsupportedFormat&) {
    }
  }
}

TEST(posting_list_of_random_bytes_is_refused_or_stays_within_them) {
  std::mt19937_64 random(std::random_device{}());
  for (int round = 0; round < 20'000; round++) {
    const ListShape shape{static_cast<uint32_t>(1 + random() % 40), random() % 2 ? uint8_t{4} : uint8_t{8},
                          static_cast<uint8_t>(random() % 3 * 4)};
    Bytes bytes = random_bytes(64 * (1 + random() % 6), random());
    ListHeader header{};
    std::memcpy(&header, bytes.data(), sizeof header);
    header.magic = kListMagic;
    header.list_number = 1;
    header.code_bytes = shape.code_bytes;
    header.id_bytes = shape.id_bytes;
    header.row_bytes = shape.row_bytes;
    header.version_bytes = header.num_columns = 0;
    if (round % 2) header.num_entries %= 40, header.num_primary %= header.num_entries + 1;
    std::memset(header.reserved, 0, sizeof header.reserved);
    std::memcpy(bytes.data(), &header, sizeof header);
    try {
      const ListView view(bytes, 1, shape, "f");
      for (size_t e = 0; e < view.num_entries(); e++) (void)view.id(e), (void)view.row(e);
    } catch (const CorruptFile&) {
    }
  }
}

}  // namespace
}  // namespace outcrop::testing
