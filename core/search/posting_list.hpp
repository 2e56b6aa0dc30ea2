// The layout of a posting list (docs/formats/posting_list.md): the writer and the readers share this file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

namespace outcrop {

constexpr uint32_t kListMagic = 0x31534C50;
constexpr size_t kListAlignment = 64;

struct ListHeader {
  uint32_t magic;
  uint32_t list_number;
  uint32_t num_entries;
  uint32_t num_primary;
  uint64_t first_row;
  uint32_t code_bytes;
  uint8_t id_bytes;
  uint8_t row_bytes;
  uint8_t version_bytes;
  uint8_t num_columns;
  std::byte reserved[32];
};
static_assert(sizeof(ListHeader) == 64);

// What all lists of one version have in common.
struct ListShape {
  uint32_t code_bytes;
  uint8_t id_bytes;   // 4 or 8
  uint8_t row_bytes;  // 0, 4 or 8
};

// Offsets from the list's first byte; `end` is its length, a multiple of 64.
struct ListSections {
  size_t codes, ids, rows, end;
};

inline size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

inline ListSections list_sections(const ListShape& shape, size_t num_entries, size_t num_primary) {
  ListSections s{};
  s.codes = sizeof(ListHeader);
  s.ids = round_up(s.codes + num_entries * shape.code_bytes, 8);
  s.rows = round_up(s.ids + num_entries * shape.id_bytes, 8);
  s.end = round_up(s.rows + (num_entries - num_primary) * shape.row_bytes, kListAlignment);
  return s;
}

// A list in memory, checked; it points into the caller's bytes.
class ListView {
 public:
  // Throws CorruptFile when header and length disagree, UnsupportedFormat for sections that this reader does not know.
  ListView(std::span<const std::byte> bytes, uint32_t list_number, const ListShape& shape, const std::string& file);

  uint32_t num_entries() const { return header_.num_entries; }
  uint32_t num_primary() const { return header_.num_primary; }
  uint64_t first_row() const { return header_.first_row; }
  const std::byte* codes() const { return bytes_.data() + sections_.codes; }
  int64_t id(size_t entry) const {
    return static_cast<int64_t>(load(sections_.ids + entry * header_.id_bytes, header_.id_bytes));
  }
  uint64_t row(size_t entry) const {
    if (entry < header_.num_primary) return header_.first_row + entry;
    if (header_.row_bytes == 0) return 0;
    return load(sections_.rows + (entry - header_.num_primary) * header_.row_bytes, header_.row_bytes);
  }

 private:
  uint64_t load(size_t offset, size_t width) const {
    uint64_t value = 0;
    std::memcpy(&value, bytes_.data() + offset, width);
    return value;
  }

  std::span<const std::byte> bytes_;
  ListHeader header_;
  ListSections sections_;
};

// Entries of consecutive lists, list after list, in each list the primaries first.
struct PackInput {
  uint32_t first_list;
  std::span<const uint32_t> num_entries;  // per list
  std::span<const uint32_t> num_primary;  // per list
  std::span<const uint64_t> first_rows;   // per list
  const std::byte* codes;                 // [entries, code_bytes]
  const int64_t* ids;                     // [entries]
  const uint64_t* rows;                   // [entries]; read where row_bytes is not 0
};

// Length in bytes of all the lists together.
size_t packed_bytes(const ListShape& shape, std::span<const uint32_t> num_entries,
                    std::span<const uint32_t> num_primary);

// Writes the lists one behind the other to `out`, which holds exactly packed_bytes().
void pack_lists(const ListShape& shape, const PackInput& input, std::span<std::byte> out);

}  // namespace outcrop
