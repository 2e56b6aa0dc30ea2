#include "tests/io_files.hpp"

#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>

#include "io/checksum.hpp"

namespace outcrop::testing {
namespace {

template <class Number>
void put(Bytes& image, size_t offset, Number value) {
  std::memcpy(image.data() + offset, &value, sizeof value);
}

}  // namespace

// Beside the executable, since /tmp may be a tmpfs, and O_DIRECT on the real file system is what we want to meet.
TemporaryFolder::TemporaryFolder() {
  std::string name = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "io_test_XXXXXX";
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make a temporary folder");
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

Bytes random_bytes(size_t n, uint64_t seed) {
  std::mt19937_64 random(seed);
  Bytes bytes(n);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random() & 0xff);
  return bytes;
}

void write_file(const std::string& path, const Bytes& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
  if (!out.flush()) throw std::runtime_error("cannot write " + path);
}

Bytes read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  Bytes bytes(std::filesystem::file_size(path));
  in.read(reinterpret_cast<char*>(bytes.data()), std::streamsize(bytes.size()));
  return bytes;
}

void reseal_header(Bytes& image) { put(image, 4092, crc32c(0, image.data(), 4092)); }

Bytes block_file_image(const std::string& kind, const Bytes& payload) {
  const size_t num_blocks = (payload.size() + 4095) / 4096;
  const size_t table_offset = 4096 * (1 + num_blocks);
  Bytes image(table_offset + (4 * num_blocks + 4095) / 4096 * 4096);
  if (!payload.empty()) std::memcpy(image.data() + 4096, payload.data(), payload.size());
  for (size_t block = 1; block <= num_blocks; ++block) {
    const uint32_t of_number = crc32c(0, &block, 8);
    put(image, table_offset + 4 * (block - 1), crc32c(of_number, image.data() + 4096 * block, 4096));
  }
  std::memcpy(image.data(), "OUTCROP\0", 8);
  put(image, 8, uint32_t{1});
  put(image, 12, uint32_t{4096});
  std::memcpy(image.data() + 16, kind.data(), kind.size());
  put(image, 32, uint64_t{payload.size()});
  put(image, 40, uint64_t{num_blocks});
  put(image, 48, uint64_t{table_offset});
  put(image, 56, crc32c(0, image.data() + table_offset, 4 * num_blocks));
  for (uint8_t i = 0; i < 16; ++i) put(image, 64 + i, i);
  reseal_header(image);
  return image;
}

AlignedBuffer::AlignedBuffer(size_t size) : data(static_cast<std::byte*>(std::aligned_alloc(4096, size))) {}
AlignedBuffer::~AlignedBuffer() { std::free(data); }

}  // namespace outcrop::testing
