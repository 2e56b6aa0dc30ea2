#include "tiers/row_scan.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "error.hpp"
#include "io/merge.hpp"

namespace outcrop {
namespace {

// Blocks that are read at once, and which positions of the keys lie in them.
struct Stretch {
  Extent extent;
  size_t first_key, end_key;
};

class RowScan {
 public:
  RowScan(const BlockFile& file, uint64_t row_bytes, std::span<const uint32_t> keys, BufferArena& arena,
          const RowArrived& arrived)
      : file_(file), row_bytes_(row_bytes), keys_(keys), arena_(arena), arrived_(arrived) {}

  // The device writes into the leases until its reads are done, also when an error ends the scan early.
  ~RowScan() {
    if (!queue_) return;
    std::array<ReadCompletion, 16> ignored;
    while (queue_->in_flight() > 0) queue_->wait(1, ignored);
    file_.reader().give_back(std::move(queue_));
  }

  ReadUsage run(uint64_t gap_blocks, uint64_t max_blocks) {
    plan(gap_blocks, max_blocks);
    leases_.resize(stretches_.size());
    queue_ = file_.reader().take_queue();
    while (next_ < stretches_.size() || queue_->in_flight() > 0) {
      start();
      finish();
    }
    return usage_;
  }

 private:
  // Keys are sorted, so one pass joins what is near.
  void plan(uint64_t gap_blocks, uint64_t max_blocks) {
    for (size_t i = 0; i < keys_.size(); ++i) {
      if (i > 0 && keys_[i] < keys_[i - 1])
        throw InvalidArgument("scan_rows: keys[" + std::to_string(i) + "] is " + std::to_string(keys_[i]) +
                              ", less than the one before: expected ascending rows");
      const Extent row = file_.blocks_of(keys_[i] * row_bytes_, row_bytes_);
      if (!stretches_.empty()) {
        Stretch& last = stretches_.back();
        const uint64_t end = last.extent.end_block();
        usage_.pages += row.end_block() - std::min(row.end_block(), std::max(row.first_block, end));
        if (row.first_block <= end + gap_blocks && row.end_block() - last.extent.first_block <= max_blocks) {
          last.extent.num_blocks = std::max(end, row.end_block()) - last.extent.first_block;
          last.end_key = i + 1;
          continue;
        }
      } else {
        usage_.pages += row.num_blocks;
      }
      stretches_.push_back({row, i, i + 1});
    }
    usage_.reads = stretches_.size();
    for (const Stretch& stretch : stretches_) usage_.bytes += stretch.extent.length_bytes();
  }

  void start() {
    requests_.clear();
    while (next_ < stretches_.size() && requests_.size() < queue_->room()) {
      const Extent& extent = stretches_[next_].extent;
      leases_[next_] = arena_.try_lease(extent.length_bytes());
      if (!leases_[next_]) break;
      requests_.push_back({file_.file(), extent.offset_bytes(), static_cast<uint32_t>(extent.length_bytes()),
                           leases_[next_].data(), next_});
      ++next_;
    }
    queue_->submit(requests_);
    if (queue_->in_flight() > 0 || next_ == stretches_.size()) return;
    throw ResourceExhausted("scan_rows: no room for a read of " +
                            std::to_string(stretches_[next_].extent.length_bytes()) +
                            " bytes: " + std::to_string(arena_.in_use()) + " of the arena's " +
                            std::to_string(arena_.capacity()) + " bytes are in use");
  }

  void finish() {
    std::array<ReadCompletion, 16> completions;
    const size_t n = queue_->wait(1, completions);
    for (size_t i = 0; i < n; ++i) finish(completions[i]);
  }

  void finish(const ReadCompletion& completion) {
    const Stretch& stretch = stretches_[completion.tag];
    const Extent& extent = stretch.extent;
    if (completion.error != 0) file_.fail(completion.error, extent.first_block, extent.num_blocks);
    const std::byte* data = leases_[completion.tag].data();
    file_.verify(extent.first_block, extent.num_blocks, data);
    const uint64_t begin = BlockFile::first_byte_of(extent.first_block);
    for (size_t i = stretch.first_key; i < stretch.end_key; ++i) arrived_(i, data + (keys_[i] * row_bytes_ - begin));
    leases_[completion.tag].reset();
  }

  const BlockFile& file_;
  const uint64_t row_bytes_;
  const std::span<const uint32_t> keys_;
  BufferArena& arena_;
  const RowArrived& arrived_;
  std::vector<Stretch> stretches_;
  std::vector<BufferArena::Lease> leases_;
  std::vector<ReadRequest> requests_;
  std::unique_ptr<ReadQueue> queue_;
  size_t next_ = 0;  // the first stretch not yet given to the device
  ReadUsage usage_;
};

}  // namespace

ReadUsage scan_rows(const BlockFile& file, uint64_t row_bytes, std::span<const uint32_t> keys,
                    const RowScanOptions& options, BufferArena& arena, const RowArrived& arrived) {
  if (row_bytes == 0) throw InvalidArgument("scan_rows: rows of 0 bytes");
  if (keys.empty()) return {};
  // A quarter of the arena lets four reads overlap in a small one.
  const uint64_t longest = std::min<uint64_t>(options.max_read_bytes, arena.capacity() / 4);
  return RowScan(file, row_bytes, keys, arena, arrived).run(options.gap_bytes / kBlockBytes, longest / kBlockBytes);
}

}  // namespace outcrop
