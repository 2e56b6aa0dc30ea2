#include "tiers/scratch_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <utility>

#include "error.hpp"
#include "io/block.hpp"

namespace outcrop {
namespace {

constexpr size_t kMostBuffers = 64;

[[noreturn]] void fail(int error, const std::string& what) {
  throw StorageFailure(error, what + ": " + std::strerror(error));
}

// A file without a name; where the file system cannot make one, a file that loses its name at once.
int open_unnamed(const std::string& folder, int flags) {
  int fd = ::open(folder.c_str(), O_RDWR | O_TMPFILE | O_CLOEXEC | flags, 0600);
  if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR)) return fd;
  std::string path = folder + "/outcrop-scratch-XXXXXX";
  fd = ::mkostemp(path.data(), O_CLOEXEC | flags);
  if (fd >= 0) ::unlink(path.c_str());
  return fd;
}

uint32_t count_extents(uint64_t capacity_bytes, uint32_t extent_bytes) {
  if (extent_bytes == 0 || !is_block_multiple(extent_bytes))
    throw InvalidArgument("scratch file: an extent must be a multiple of 4096 bytes, got " +
                          std::to_string(extent_bytes));
  const uint64_t n = capacity_bytes / extent_bytes;
  if (n == 0 || n >= ScratchFile::kNone)
    throw InvalidArgument("scratch file: " + std::to_string(capacity_bytes) + " bytes hold " + std::to_string(n) +
                          " extents of " + std::to_string(extent_bytes) + " bytes, expected 1 to 2^32 - 2");
  return static_cast<uint32_t>(n);
}

}  // namespace

ScratchFile::ScratchFile(const std::string& folder, uint64_t capacity_bytes, uint32_t extent_bytes,
                         ScratchFaults faults)
    : folder_(folder),
      extent_bytes_(extent_bytes),
      num_extents_(count_extents(capacity_bytes, extent_bytes)),
      faults_(std::move(faults)),
      num_free_(num_extents_) {
  fd_ = open_unnamed(folder, O_DIRECT);
  if (fd_ < 0 && errno == EINVAL) {
    direct_ = false;
    fd_ = open_unnamed(folder, 0);
  }
  if (fd_ < 0) fail(errno, "scratch file in " + folder);
  try {
    reserve(uint64_t{num_extents_} * extent_bytes_);
  } catch (...) {
    ::close(fd_);
    throw;
  }
  free_.emplace(0, num_extents_);
}

ScratchFile::~ScratchFile() { ::close(fd_); }

void ScratchFile::reserve(uint64_t bytes) {
  // Asked first, since a file system may fill the disk before it refuses.
  struct statvfs disk{};
  if (::fstatvfs(fd_, &disk) != 0) fail(errno, "scratch file in " + folder_ + ": statvfs");
  const uint64_t free_bytes = uint64_t{disk.f_bavail} * disk.f_frsize;
  if (bytes > free_bytes || ::fallocate(fd_, 0, 0, static_cast<off_t>(bytes)) != 0) {
    if (bytes > free_bytes || errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
      throw ResourceExhausted("scratch file in " + folder_ + ": the file system has no room for " +
                              std::to_string(bytes) + " bytes, " + std::to_string(free_bytes) +
                              " are free; lower the disk budget or free some");
    if (errno != EOPNOTSUPP || ::ftruncate(fd_, static_cast<off_t>(bytes)) != 0)
      fail(errno, "scratch file in " + folder_ + ": reserve " + std::to_string(bytes) + " bytes");
  }
}

uint32_t ScratchFile::allocate(uint32_t after) {
  if (num_free_ == 0) return kNone;
  auto run = after == kNone ? free_.end() : free_.find(after + 1);
  uint32_t extent = after + 1;
  if (run == free_.end()) {
    run = std::max_element(free_.begin(), free_.end(), [](auto& a, auto& b) { return a.second < b.second; });
    extent = run->first + run->second / 2;
  }
  const auto [first, length] = *run;
  free_.erase(run);
  if (extent > first) free_.emplace(first, extent - first);
  if (extent + 1 < first + length) free_.emplace(extent + 1, first + length - extent - 1);
  --num_free_;
  return extent;
}

void ScratchFile::release(uint32_t extent) {
  assert(extent < num_extents_);
  uint32_t first = extent, length = 1;
  auto next = free_.lower_bound(extent);
  assert(next == free_.end() || next->first != extent);
  if (next != free_.end() && next->first == extent + 1) {
    length += next->second;
    next = free_.erase(next);
  }
  if (next != free_.begin()) {
    auto previous = std::prev(next);
    assert(previous->first + previous->second <= extent);
    if (previous->first + previous->second == extent) {
      first = previous->first;
      length += previous->second;
      free_.erase(previous);
    }
  }
  free_.emplace(first, length);
  ++num_free_;
}

void ScratchFile::write(uint32_t first, std::span<std::byte* const> buffers) {
  const int error = faults_.write_error ? faults_.write_error() : 0;
  if (error != 0) fail(error, "scratch file in " + folder_ + ": write at offset " + std::to_string(offset_of(first)));
  transfer(first, buffers, true);
}

void ScratchFile::read(uint32_t first, std::span<std::byte* const> buffers) {
  transfer(first, buffers, false);
  if (!faults_.after_read) return;
  for (size_t i = 0; i < buffers.size(); ++i)
    faults_.after_read(offset_of(first + static_cast<uint32_t>(i)), buffers[i], extent_bytes_);
}

void ScratchFile::transfer(uint32_t first, std::span<std::byte* const> buffers, bool writing) {
  assert(buffers.size() <= kMostBuffers && first + buffers.size() <= num_extents_);
  std::array<iovec, kMostBuffers> vectors;
  const uint64_t total = uint64_t{extent_bytes_} * buffers.size();
  for (uint64_t done = 0; done < total;) {  // short transfers go on behind the last whole block, as O_DIRECT asks
    size_t n = 0;
    for (size_t i = done / extent_bytes_; i < buffers.size(); ++i) {
      const size_t skip = n == 0 ? done % extent_bytes_ : 0;
      vectors[n++] = {buffers[i] + skip, extent_bytes_ - skip};
    }
    const auto offset = static_cast<off_t>(offset_of(first) + done);
    const ssize_t came = writing ? ::pwritev(fd_, vectors.data(), static_cast<int>(n), offset)
                                 : ::preadv(fd_, vectors.data(), static_cast<int>(n), offset);
    if (came < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    const std::string where = "scratch file in " + folder_ + (writing ? ": write" : ": read") + " of " +
                              std::to_string(total - done) + " bytes at offset " + std::to_string(offset);
    if (came < 0) fail(errno, where);
    if (round_down_to_block(uint64_t(came)) == 0) {
      if (writing) fail(ENOSPC, where);
      throw CorruptFile(where + ": the file ends there, though extents were written behind");
    }
    done += round_down_to_block(uint64_t(came));
  }
}

}  // namespace outcrop
