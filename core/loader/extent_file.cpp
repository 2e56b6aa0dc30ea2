#include "loader/extent_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "error.hpp"
#include "io/checksum.hpp"

namespace outcrop {
namespace {

constexpr size_t kTableChunk = 1 << 20;

int open_retrying(const char* path, int flags) {
  int fd;
  do fd = ::open(path, flags | O_CLOEXEC, 0644);
  while (fd < 0 && errno == EINTR);
  return fd;
}

// pwritev may write less than asked; `parts` then loses what was written from its front.
void drop_front(std::vector<iovec>& parts, size_t bytes) {
  size_t first = 0;
  for (; first < parts.size() && bytes >= parts[first].iov_len; ++first) bytes -= parts[first].iov_len;
  parts.erase(parts.begin(), parts.begin() + ptrdiff_t(first));
  if (bytes > 0) {
    parts[0].iov_base = static_cast<std::byte*>(parts[0].iov_base) + bytes;
    parts[0].iov_len -= bytes;
  }
}

}  // namespace

ExtentFile::ExtentFile(std::string path, uint64_t payload_bytes, bool resume)
    : path_(std::move(path)), payload_bytes_(payload_bytes) {
  const int flags = O_RDWR | O_CREAT | (resume ? 0 : O_TRUNC);
  table_fd_ = open_retrying(path_.c_str(), flags);
  if (table_fd_ < 0) fail("open");
  try {
    data_fd_ = open_retrying(path_.c_str(), O_RDWR | O_DIRECT);
    if (data_fd_ < 0 && errno == EINVAL) data_fd_ = open_retrying(path_.c_str(), O_RDWR);
    if (data_fd_ < 0) fail("open");
    resume ? check_size() : reserve();
  } catch (...) {
    ::close(table_fd_);
    if (data_fd_ >= 0) ::close(data_fd_);
    throw;
  }
}

ExtentFile::~ExtentFile() {
  ::close(table_fd_);
  ::close(data_fd_);
}

// One allocation for all: blocks that are written here and there would otherwise lie here and there on the device.
void ExtentFile::reserve() {
  const off_t size = off_t(file_bytes());
  int error;
  do error = ::fallocate(table_fd_, 0, 0, size) == 0 ? 0 : errno;
  while (error == EINTR);
  if (error == EOPNOTSUPP) error = ::ftruncate(table_fd_, size) == 0 ? 0 : errno;
  if (error != 0) {
    errno = error;
    fail("reserve");
  }
}

void ExtentFile::check_size() const {
  struct stat status{};
  if (::fstat(table_fd_, &status) != 0) fail("stat");
  if (uint64_t(status.st_size) != file_bytes())
    throw CorruptFile(path_ + ": to be resumed: expected " + std::to_string(file_bytes()) + " bytes, found " +
                      std::to_string(status.st_size));
}

void ExtentFile::write(uint64_t first_block, std::span<const iovec> parts) {
  std::vector<iovec> rest(parts.begin(), parts.end());
  std::vector<uint32_t> sums;
  for (const iovec& part : parts) {
    const size_t n = part.iov_len / kBlockBytes;
    sums.resize(sums.size() + n);
    block_checksums(static_cast<const std::byte*>(part.iov_base), n, first_block + sums.size() - n,
                    sums.data() + sums.size() - n);
  }
  if (first_block + sums.size() > 1 + num_data_blocks())
    throw InvalidArgument(path_ + ": a write passes the end of the payload");
  off_t offset = off_t(first_block * kBlockBytes);
  while (!rest.empty()) {
    const ssize_t done = ::pwritev(data_fd_, rest.data(), int(std::min<size_t>(rest.size(), 1024)), offset);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail("write");
    offset += done;
    drop_front(rest, size_t(done));
  }
  const auto* from = reinterpret_cast<const char*>(sums.data());
  uint64_t at = table_offset() + 4 * (first_block - 1);
  for (size_t left = 4 * sums.size(); left > 0;) {
    const ssize_t done = ::pwrite(table_fd_, from, left, off_t(at));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail("write");
    from += done, at += uint64_t(done), left -= size_t(done);
  }
}

void ExtentFile::read_block(uint64_t block, std::byte* out) const {
  ssize_t got;
  do got = ::pread(data_fd_, out, kBlockBytes, off_t(block * kBlockBytes));
  while (got < 0 && errno == EINTR);
  if (got < 0) fail("read");
  if (got != kBlockBytes) throw CorruptFile(path_ + ": ends within block " + std::to_string(block));
}

void ExtentFile::sync() {
  if (::fdatasync(data_fd_) != 0 || ::fdatasync(table_fd_) != 0) fail("sync");
}

uint32_t ExtentFile::table_crc() const {
  std::vector<std::byte> chunk(kTableChunk);
  uint32_t crc = 0;
  uint64_t at = table_offset();
  for (uint64_t left = 4 * num_data_blocks(); left > 0;) {
    const ssize_t got = ::pread(table_fd_, chunk.data(), std::min<uint64_t>(left, chunk.size()), off_t(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("read");
    if (got == 0) throw CorruptFile(path_ + ": ends within its checksum table");
    crc = crc32c(crc, chunk.data(), size_t(got));
    at += uint64_t(got), left -= uint64_t(got);
  }
  return crc;
}

void ExtentFile::fail(const char* what) const {
  const int error = errno;
  throw StorageFailure(error, std::string(what) + " " + path_ + ": " + std::strerror(error));
}

}  // namespace outcrop
