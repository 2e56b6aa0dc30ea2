#include "io/file_scan.hpp"

#include <algorithm>
#include <array>
#include <deque>
#include <string>
#include <utility>

#include "error.hpp"

namespace outcrop {
namespace {

constexpr uint64_t kReadBlocks = 64;  // 256 KiB: the device's bandwidth with a few in flight
constexpr size_t kReadsAhead = 8;

struct PendingRead {
  Extent extent;
  BufferArena::Lease lease;
  bool done = false;
};

// Visits extents in the file's order, whatever the order of their completions.
class Scan {
 public:
  using Visit = std::function<void(const Extent&, const std::byte*)>;

  Scan(const BlockFile& file, BufferArena& arena)
      : file_(file),
        arena_(arena),
        read_blocks_(std::clamp<uint64_t>(arena.capacity() / kBlockBytes / 2, 1, kReadBlocks)),
        queue_(file.reader().take_queue()) {}

  // The device writes into the leases until its reads are done, also when an error ends the scan early.
  ~Scan() {
    std::array<ReadCompletion, kReadsAhead> ignored;
    while (queue_->in_flight() > 0) queue_->wait(1, ignored);
    file_.reader().give_back(std::move(queue_));
  }

  void run(const Visit& visit) {
    start_reads();
    while (!pending_.empty()) {
      take_completions();
      for (; !pending_.empty() && pending_.front().done; pending_.pop_front(), ++first_)
        visit(pending_.front().extent, pending_.front().lease.data());
      start_reads();
    }
  }

 private:
  uint64_t end_block() const { return 1 + file_.num_data_blocks(); }

  void start_reads() {
    while (next_block_ < end_block() && pending_.size() < kReadsAhead && queue_->room() > 0) {
      const Extent extent{next_block_, std::min(read_blocks_, end_block() - next_block_)};
      auto lease = arena_.try_lease(extent.length_bytes());
      if (!lease) break;
      const ReadRequest request{file_.file(), extent.offset_bytes(), static_cast<uint32_t>(extent.length_bytes()),
                                lease.data(), first_ + pending_.size()};
      pending_.push_back({extent, std::move(lease)});
      queue_->submit({&request, 1});
      next_block_ = extent.end_block();
    }
    if (pending_.empty() && next_block_ < end_block())
      throw ResourceExhausted("verify: no room for a read of " + std::to_string(read_blocks_ * kBlockBytes) +
                              " bytes in an arena of " + std::to_string(arena_.capacity()));
  }

  void take_completions() {
    std::array<ReadCompletion, kReadsAhead> completions;
    const size_t n = queue_->wait(1, completions);
    for (size_t i = 0; i < n; ++i) {
      PendingRead& read = pending_[completions[i].tag - first_];
      if (completions[i].error != 0) file_.fail(completions[i].error, read.extent.first_block, read.extent.num_blocks);
      read.done = true;
    }
  }

  const BlockFile& file_;
  BufferArena& arena_;
  const uint64_t read_blocks_;
  std::unique_ptr<ReadQueue> queue_;
  std::deque<PendingRead> pending_;
  uint64_t first_ = 0;  // the tag of pending_.front()
  uint64_t next_block_ = 1;
};

uint64_t payload_up_to(const BlockFile& file, const Extent& extent) {
  return std::min(file.payload_bytes(), BlockFile::first_byte_of(extent.end_block()));
}

// A checksum cannot tell that a writer forgot to clear its buffer: the sum of the wrong bytes is right.
void check_padding(const BlockFile& file, const Extent& extent, const std::byte* data) {
  if (extent.end_block() != 1 + file.num_data_blocks()) return;
  const uint64_t used = file.payload_bytes() - BlockFile::first_byte_of(extent.first_block);
  if (std::any_of(data + used, data + extent.length_bytes(), [](std::byte b) { return b != std::byte{0}; }))
    throw CorruptFile(file.name() + ": block " + std::to_string(extent.end_block() - 1) + ": padding is not zero");
}

}  // namespace

void verify_all(const BlockFile& file, BufferArena& arena, const ScanProgress& progress) {
  Scan(file, arena).run([&](const Extent& extent, const std::byte* data) {
    file.verify(extent.first_block, extent.num_blocks, data);
    check_padding(file, extent, data);
    if (progress) progress(payload_up_to(file, extent));
  });
}

std::vector<uint64_t> bad_blocks(const BlockFile& file, BufferArena& arena, const ScanProgress& progress) {
  std::vector<uint64_t> bad;
  Scan(file, arena).run([&](const Extent& extent, const std::byte* data) {
    for (uint64_t i = 0; i < extent.num_blocks; ++i)
      if (file.first_bad_block(extent.first_block + i, 1, data + i * kBlockBytes))
        bad.push_back(extent.first_block + i);
    if (progress) progress(payload_up_to(file, extent));
  });
  return bad;
}

}  // namespace outcrop
