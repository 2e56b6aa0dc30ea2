// A block file opened for reading: its header and checksum table are read and checked at open, its blocks are checked
// as they are read. The format is docs/formats/block_file.md.
//
// Blocks are counted from the begin of the file: block 0 is the header, payload byte p lies in block 1 + p / 4096, and
// block b at byte offset 4096 * b. Every block number below is of this kind.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/block.hpp"
#include "io/block_reader.hpp"
#include "io/merge.hpp"

namespace outcrop {

using FileId = std::array<std::byte, 16>;

class BlockFile {
 public:
  // expected_kind "" and an empty expected_file_id accept any. Throws CorruptFile when the bytes disagree with the
  // format, the kind or the id, UnsupportedFormat for another version, StorageFailure when the file cannot be read.
  static std::shared_ptr<BlockFile> open(std::shared_ptr<BlockReader> reader, const std::string& path,
                                         std::string_view expected_kind = {},
                                         std::span<const std::byte> expected_file_id = {});
  ~BlockFile();
  BlockFile(const BlockFile&) = delete;
  BlockFile& operator=(const BlockFile&) = delete;

  uint64_t payload_bytes() const { return payload_bytes_; }
  uint64_t num_data_blocks() const { return checksums_.size(); }
  const std::string& kind() const { return kind_; }
  const FileId& file_id() const { return file_id_; }
  const std::string& path() const { return path_; }
  std::string name() const;  // the path's last part, as errors name it
  size_t resident_bytes() const { return checksums_.capacity() * sizeof(uint32_t) + sizeof *this; }

  BlockReader& reader() const { return *reader_; }
  uint32_t file() const { return file_; }  // its id within the reader, for ReadRequest::file

  // The blocks that hold payload bytes [offset, offset + length). Throws InvalidArgument when they pass the payload's
  // end.
  Extent blocks_of(uint64_t offset, uint64_t length) const;
  static constexpr uint64_t first_byte_of(uint64_t block) { return (block - 1) * kBlockBytes; }  // in the payload

  // The first block of `data`, blocks [first_block, first_block + n), that disagrees with its checksum.
  std::optional<uint64_t> first_bad_block(uint64_t first_block, size_t n, const std::byte* data) const;

  // Throws CorruptFile naming file, block, offset and both checksums. Any thread.
  void verify(uint64_t first_block, size_t n, const std::byte* data) const;

  // Throws what a failed completion means: CorruptFile for kEndOfFile, else StorageFailure with the errno.
  [[noreturn]] void fail(int error, uint64_t first_block, uint64_t n) const;

 private:
  BlockFile() = default;

  std::shared_ptr<BlockReader> reader_;
  uint32_t file_ = 0;
  bool added_ = false;
  std::string path_;
  std::string kind_;
  FileId file_id_{};
  uint64_t payload_bytes_ = 0;
  std::vector<uint32_t> checksums_;  // of block b at [b - 1]
};

}  // namespace outcrop
