#include "search/posting_list.hpp"

#include <algorithm>
#include <bit>
#include <cassert>

#include "error.hpp"

static_assert(std::endian::native == std::endian::little, "the formats are little-endian and read in place");

namespace outcrop {

namespace {

[[noreturn]] void refuse(const std::string& file, uint32_t list, const std::string& why) {
  throw CorruptFile(file + ": posting list " + std::to_string(list) + ": " + why);
}

void check_header(const ListHeader& h, uint32_t list, const ListShape& shape, const std::string& file) {
  if (h.magic != kListMagic) refuse(file, list, "magic is " + std::to_string(h.magic) + ", expected PLS1");
  if (h.list_number != list) refuse(file, list, "holds list " + std::to_string(h.list_number));
  if (h.num_primary > h.num_entries) refuse(file, list, "more primary entries than entries");
  if (h.version_bytes != 0 || h.num_columns != 0)
    throw UnsupportedFormat(file + ": posting list " + std::to_string(list) +
                            " has versions or columns, which this reader does not know: upgrade outcrop");
  if (h.code_bytes != shape.code_bytes || h.id_bytes != shape.id_bytes || h.row_bytes != shape.row_bytes)
    refuse(file, list, "entry widths differ from the manifest's");
  bool zero = std::all_of(std::begin(h.reserved), std::end(h.reserved), [](std::byte b) { return b == std::byte{0}; });
  if (!zero) refuse(file, list, "reserved bytes are not zero");
}

// The low `width` bytes of each 64-bit value.
void store_narrow(std::byte* out, const void* values, size_t count, size_t width) {
  const auto* from = static_cast<const std::byte*>(values);
  for (size_t i = 0; i < count; i++) std::memcpy(out + i * width, from + i * 8, width);
}

}  // namespace

ListView::ListView(std::span<const std::byte> bytes, uint32_t list_number, const ListShape& shape,
                   const std::string& file)
    : bytes_(bytes) {
  if (bytes.size() < sizeof(ListHeader)) refuse(file, list_number, "shorter than its header");
  std::memcpy(&header_, bytes.data(), sizeof(ListHeader));
  check_header(header_, list_number, shape, file);
  sections_ = list_sections(shape, header_.num_entries, header_.num_primary);
  if (sections_.end != bytes.size())
    refuse(file, list_number,
           "its entries need " + std::to_string(sections_.end) + " bytes, the directory gives it " +
               std::to_string(bytes.size()));
}

size_t packed_bytes(const ListShape& shape, std::span<const uint32_t> num_entries,
                    std::span<const uint32_t> num_primary) {
  assert(num_entries.size() == num_primary.size());
  size_t total = 0;
  for (size_t i = 0; i < num_entries.size(); i++) total += list_sections(shape, num_entries[i], num_primary[i]).end;
  return total;
}

void pack_lists(const ListShape& shape, const PackInput& input, std::span<std::byte> out) {
  assert(out.size() == packed_bytes(shape, input.num_entries, input.num_primary));
  std::byte* at = out.data();
  size_t entry = 0;
  for (size_t i = 0; i < input.num_entries.size(); i++) {
    size_t n = input.num_entries[i], primary = input.num_primary[i];
    ListSections s = list_sections(shape, n, primary);
    std::memset(at, 0, s.end);
    ListHeader header{};
    header.magic = kListMagic;
    header.list_number = input.first_list + static_cast<uint32_t>(i);
    header.num_entries = static_cast<uint32_t>(n);
    header.num_primary = static_cast<uint32_t>(primary);
    header.first_row = input.first_rows[i];
    header.code_bytes = shape.code_bytes;
    header.id_bytes = shape.id_bytes;
    header.row_bytes = shape.row_bytes;
    std::memcpy(at, &header, sizeof(header));
    std::memcpy(at + s.codes, input.codes + entry * shape.code_bytes, n * shape.code_bytes);
    store_narrow(at + s.ids, input.ids + entry, n, shape.id_bytes);
    if (shape.row_bytes != 0) store_narrow(at + s.rows, input.rows + entry + primary, n - primary, shape.row_bytes);
    at += s.end;
    entry += n;
  }
}

}  // namespace outcrop
