// A file for bytes that need not outlive the process: extents of one length, handed out so that the extents of one
// stream lie behind each other as far as possible. It has no name in its folder, so a killed process leaves nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>

namespace outcrop {

// For tests: what a call to the device is made to answer. Called by the threads that read and write.
struct ScratchFaults {
  std::function<void(uint64_t offset, std::byte* data, size_t bytes)> after_read;  // may damage what was read
  std::function<int()> write_error;                                                // an errno, or 0 to let it pass
};

class ScratchFile {
 public:
  static constexpr uint32_t kNone = 0xffffffffu;

  // The room is taken at once where the file system can: a disk that is too small refuses here and not halfway.
  // extent_bytes is a multiple of 4096. Throws InvalidArgument, ResourceExhausted when the disk is full,
  // StorageFailure.
  ScratchFile(const std::string& folder, uint64_t capacity_bytes, uint32_t extent_bytes, ScratchFaults faults = {});
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  uint32_t num_extents() const { return num_extents_; }
  uint32_t num_free() const { return num_free_; }
  uint32_t extent_bytes() const { return extent_bytes_; }
  bool direct() const { return direct_; }  // false where the file system refuses O_DIRECT
  const std::string& folder() const { return folder_; }
  uint64_t offset_of(uint32_t extent) const { return uint64_t{extent} * extent_bytes_; }

  // The extent behind `after`, if it is free; else one from the middle of the longest free run, so that both the
  // newcomer and whoever ends before that run have room to grow. kNone when all are taken. One thread at a time.
  uint32_t allocate(uint32_t after);
  void release(uint32_t extent);

  // Consecutive extents from or to one 4096-aligned buffer of extent_bytes each, at most 64 of them. Any thread. Throws
  // StorageFailure; CorruptFile when the file has become shorter.
  void write(uint32_t first, std::span<std::byte* const> buffers);
  void read(uint32_t first, std::span<std::byte* const> buffers);

 private:
  void reserve(uint64_t bytes);
  void transfer(uint32_t first, std::span<std::byte* const> buffers, bool writing);

  const std::string folder_;
  const uint32_t extent_bytes_;
  const uint32_t num_extents_;
  const ScratchFaults faults_;
  int fd_ = -1;
  bool direct_ = true;
  uint32_t num_free_ = 0;
  std::map<uint32_t, uint32_t> free_;  // first extent -> length of each free run; no two touch
};

}  // namespace outcrop
