// A block file of known size whose blocks are written in any order (docs/formats/block_file.md): what a distribution
// sort needs, where a writer from front to back does not do. Checksums go to their table on disk at once, so the memory
// does not grow with the file, and what was synced survives the process.
//
// The header is not written here: until the owner has put it into block 0, no reader accepts the file.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "io/block.hpp"

namespace outcrop {

class ExtentFile {
 public:
  // Reserves the file's whole size on disk, so that a full disk is noticed here. resume: keeps what an earlier process
  // wrote. Throws StorageFailure; CorruptFile when a file to be resumed has another size.
  ExtentFile(std::string path, uint64_t payload_bytes, bool resume);
  ~ExtentFile();
  ExtentFile(const ExtentFile&) = delete;
  ExtentFile& operator=(const ExtentFile&) = delete;

  const std::string& path() const { return path_; }
  uint64_t payload_bytes() const { return payload_bytes_; }
  uint64_t num_data_blocks() const { return round_up_to_block(payload_bytes_) / kBlockBytes; }

  // Writes blocks from first_block on (counted as in BlockFile: the payload begins at block 1), with their checksums.
  // Each part is 4096-aligned and whole blocks long. Any thread; parts of one call are one write to the device.
  void write(uint64_t first_block, std::span<const iovec> parts);

  // One block as it was written, unchecked: its sum may be that of an older state. Throws StorageFailure.
  void read_block(uint64_t block, std::byte* out) const;

  void sync();  // what was written is durable when it returns

  // The checksum of the whole table, which the header wants. All blocks must have been written.
  uint32_t table_crc() const;

 private:
  [[noreturn]] void fail(const char* what) const;
  uint64_t table_offset() const { return kBlockBytes * (1 + num_data_blocks()); }
  uint64_t file_bytes() const { return table_offset() + round_up_to_block(4 * num_data_blocks()); }
  void check_size() const;
  void reserve();

  const std::string path_;
  const uint64_t payload_bytes_;
  int table_fd_ = -1;  // through the page cache: entries are small and come in no order
  int data_fd_ = -1;   // by O_DIRECT where the file system has it
};

}  // namespace outcrop
