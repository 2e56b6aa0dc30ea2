#include "io/block_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "error.hpp"
#include "io/checksum.hpp"

namespace outcrop {
namespace {

constexpr char kMagic[8] = {'O', 'U', 'T', 'C', 'R', 'O', 'P', '\0'};
constexpr uint32_t kVersion = 1;
constexpr size_t kReservedBegin = 80;
constexpr size_t kHeaderCrcOffset = 4092;

// docs/formats/block_file.md; the fields as they lie in block 0, before its reserved bytes.
struct Header {
  char magic[8];
  uint32_t version;
  uint32_t block_bytes;
  char kind[16];
  uint64_t payload_bytes;
  uint64_t num_data_blocks;
  uint64_t checksum_offset_bytes;
  uint32_t checksum_table_crc;
  uint32_t flags;
  std::byte file_id[16];
};
static_assert(sizeof(Header) == kReservedBegin);

std::string hex(uint32_t value) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%08x", value);
  return text;
}

std::string name_of(const std::string& path) { return path.substr(path.find_last_of('/') + 1); }

[[noreturn]] void corrupt(const std::string& path, const std::string& what) {
  throw CorruptFile(name_of(path) + ": " + what);
}

template <class Number>
void expect(const std::string& path, const char* field, Number found, Number expected) {
  if (found != expected)
    corrupt(path,
            std::string("header: ") + field + " " + std::to_string(found) + ", expected " + std::to_string(expected));
}

// The file through the page cache, for its header and table: they are read once, and then live in memory.
class PlainFile {
 public:
  explicit PlainFile(const std::string& path) : path_(path), fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ < 0) fail("open");
  }
  ~PlainFile() { ::close(fd_); }
  PlainFile(const PlainFile&) = delete;
  PlainFile& operator=(const PlainFile&) = delete;

  uint64_t size() const {
    struct stat status{};
    if (::fstat(fd_, &status) != 0) fail("stat");
    return uint64_t(status.st_size);
  }

  void read(uint64_t offset, void* out, size_t bytes) const {
    auto* to = static_cast<std::byte*>(out);
    while (bytes > 0) {
      const ssize_t got = ::pread(fd_, to, bytes, off_t(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail("read");
      if (got == 0) corrupt(path_, "ends at byte " + std::to_string(offset));
      to += got, offset += uint64_t(got), bytes -= size_t(got);
    }
  }

 private:
  [[noreturn]] void fail(const char* what) const {
    const int error = errno;
    throw StorageFailure(error, std::string(what) + " " + path_ + ": " + std::strerror(error));
  }

  const std::string& path_;
  const int fd_;
};

bool all_zero(const std::byte* bytes, size_t n) {
  return std::all_of(bytes, bytes + n, [](std::byte b) { return b == std::byte{0}; });
}

// Where magic and header checksum lie is the same in every version, so that a damaged version number is told from a new
// one.
Header parse_header(const std::string& path, const std::byte* block) {
  Header header;
  std::memcpy(&header, block, sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0)
    corrupt(path, "block 0 at offset 0: not a block file (magic)");
  uint32_t expected;
  std::memcpy(&expected, block + kHeaderCrcOffset, sizeof expected);
  const uint32_t found = crc32c(0, block, kHeaderCrcOffset);
  if (found != expected) corrupt(path, "block 0 at offset 0: checksum " + hex(found) + ", expected " + hex(expected));
  if (header.version != kVersion)
    throw UnsupportedFormat(name_of(path) + ": block file version " + std::to_string(header.version) +
                            ", this build reads version " + std::to_string(kVersion));
  if (!all_zero(block + kReservedBegin, kHeaderCrcOffset - kReservedBegin))
    corrupt(path, "header: reserved bytes are not zero");
  return header;
}

void check_layout(const std::string& path, const Header& header, uint64_t file_bytes) {
  expect<uint64_t>(path, "block_bytes", header.block_bytes, kBlockBytes);
  expect<uint64_t>(path, "flags", header.flags, 0);
  if (header.payload_bytes > file_bytes)  // also keeps the sums below from wrapping around
    corrupt(path, "is " + std::to_string(file_bytes) + " bytes long, its header tells of a payload of " +
                      std::to_string(header.payload_bytes));
  const uint64_t num_blocks = round_up_to_block(header.payload_bytes) / kBlockBytes;
  expect<uint64_t>(path, "num_data_blocks", header.num_data_blocks, num_blocks);
  expect<uint64_t>(path, "checksum_offset_bytes", header.checksum_offset_bytes, kBlockBytes * (1 + num_blocks));
  const uint64_t expected = header.checksum_offset_bytes + round_up_to_block(4 * num_blocks);
  if (file_bytes != expected)
    corrupt(path, "is " + std::to_string(file_bytes) + " bytes long, expected " + std::to_string(expected));
}

std::string parse_kind(const std::string& path, const Header& header, std::string_view expected) {
  const size_t length = strnlen(header.kind, sizeof header.kind);
  const std::string kind(header.kind, length);
  if (!all_zero(reinterpret_cast<const std::byte*>(header.kind) + length, sizeof header.kind - length))
    corrupt(path, "header: kind is not padded with zeros");
  if (!expected.empty() && kind != expected)
    corrupt(path, "holds '" + kind + "', expected '" + std::string(expected) + "'");
  return kind;
}

std::vector<uint32_t> read_table(const PlainFile& file, const std::string& path, const Header& header) {
  const uint64_t table_bytes = 4 * header.num_data_blocks;
  std::vector<uint32_t> checksums(header.num_data_blocks);
  file.read(header.checksum_offset_bytes, checksums.data(), table_bytes);
  const uint32_t found = crc32c(0, checksums.data(), table_bytes);
  if (found != header.checksum_table_crc)
    corrupt(path, "checksum table at offset " + std::to_string(header.checksum_offset_bytes) + ": checksum " +
                      hex(found) + ", expected " + hex(header.checksum_table_crc));
  std::byte padding[kBlockBytes];
  const size_t padding_bytes = round_up_to_block(table_bytes) - table_bytes;
  file.read(header.checksum_offset_bytes + table_bytes, padding, padding_bytes);
  if (!all_zero(padding, padding_bytes)) corrupt(path, "checksum table: padding is not zero");
  return checksums;
}

std::string describe(uint64_t first_block, uint64_t n) {
  const std::string offset = " at offset " + std::to_string(first_block * kBlockBytes);
  if (n == 1) return "block " + std::to_string(first_block) + offset;
  return "blocks " + std::to_string(first_block) + " to " + std::to_string(first_block + n - 1) + offset;
}

}  // namespace

std::shared_ptr<BlockFile> BlockFile::open(std::shared_ptr<BlockReader> reader, const std::string& path,
                                           std::string_view expected_kind,
                                           std::span<const std::byte> expected_file_id) {
  const PlainFile plain(path);
  const uint64_t file_bytes = plain.size();
  if (file_bytes < kBlockBytes)
    corrupt(path, "is " + std::to_string(file_bytes) + " bytes long, shorter than a header");
  std::byte block[kBlockBytes];
  plain.read(0, block, sizeof block);
  const Header header = parse_header(path, block);
  check_layout(path, header, file_bytes);
  std::shared_ptr<BlockFile> file(new BlockFile);
  file->path_ = path;
  file->kind_ = parse_kind(path, header, expected_kind);
  std::copy_n(header.file_id, file->file_id_.size(), file->file_id_.begin());
  if (!expected_file_id.empty() && !std::ranges::equal(expected_file_id, file->file_id_))
    corrupt(path, "header: its file id is not the manifest's: another file has taken its place");
  file->payload_bytes_ = header.payload_bytes;
  file->checksums_ = read_table(plain, path, header);
  file->file_ = reader->add_file(path);
  file->added_ = true;
  file->reader_ = std::move(reader);
  return file;
}

BlockFile::~BlockFile() {
  if (added_) reader_->remove_file(file_);
}

std::string BlockFile::name() const { return name_of(path_); }

Extent BlockFile::blocks_of(uint64_t offset, uint64_t length) const {
  if (offset > payload_bytes_ || length > payload_bytes_ - offset)
    throw InvalidArgument(name_of(path_) + ": bytes " + std::to_string(offset) + " + " + std::to_string(length) +
                          " pass the payload's end at " + std::to_string(payload_bytes_));
  const uint64_t first = offset / kBlockBytes;
  if (length == 0) return {1 + first, 0};
  return {1 + first, (offset + length - 1) / kBlockBytes - first + 1};
}

std::optional<uint64_t> BlockFile::first_bad_block(uint64_t first_block, size_t n, const std::byte* data) const {
  if (first_block < 1 || first_block - 1 > checksums_.size() || n > checksums_.size() - (first_block - 1))
    throw InvalidArgument(name_of(path_) + ": " + describe(first_block, n) + " is outside its " +
                          std::to_string(checksums_.size()) + " data blocks");
  uint32_t found[64];
  for (size_t done = 0; done < n;) {
    const size_t some = std::min(n - done, std::size(found));
    const uint64_t block = first_block + done;
    block_checksums(data + done * kBlockBytes, some, block, found);
    const auto [bad, expected] = std::mismatch(found, found + some, checksums_.begin() + ptrdiff_t(block - 1));
    if (bad != found + some) return block + uint64_t(bad - found);
    done += some;
  }
  return std::nullopt;
}

void BlockFile::verify(uint64_t first_block, size_t n, const std::byte* data) const {
  const auto bad = first_bad_block(first_block, n, data);
  if (!bad) return;
  uint32_t found;
  block_checksums(data + (*bad - first_block) * kBlockBytes, 1, *bad, &found);
  corrupt(path_, describe(*bad, 1) + ": checksum " + hex(found) + ", expected " + hex(checksums_[*bad - 1]));
}

void BlockFile::fail(int error, uint64_t first_block, uint64_t n) const {
  const std::string where = describe(first_block, n);
  if (error == kEndOfFile) corrupt(path_, where + ": the file ends before it");
  throw StorageFailure(error, name_of(path_) + ": " + where + ": " + std::strerror(error));
}

}  // namespace outcrop
