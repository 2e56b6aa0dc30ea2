// Files for the tests of core/io: a folder that goes away, bytes that can be recomputed, and a writer of block files
// that shares no code with the reader but the checksum.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace outcrop::testing {

class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

using Bytes = std::vector<std::byte>;

Bytes random_bytes(size_t n, uint64_t seed);
void write_file(const std::string& path, const Bytes& bytes);
Bytes read_file(const std::string& path);

// A whole block file of format version 1 with file id 00 01 02 .. 0f.
Bytes block_file_image(const std::string& kind, const Bytes& payload);

// Puts a header's checksum right again after a test has changed its fields.
void reseal_header(Bytes& image);

// Memory for device reads.
struct AlignedBuffer {
  explicit AlignedBuffer(size_t size);
  ~AlignedBuffer();
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  std::byte* data;
};

}  // namespace outcrop::testing
