#include "io/range_reader.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "error.hpp"
#include "io/merge.hpp"

namespace outcrop {
namespace {

// Longer reads gain no bandwidth, and shorter ones let copying and reading overlap.
constexpr uint64_t kMaxReadBytes = 256 * 1024;

// A part of a range that lies within one read.
struct Piece {
  uint64_t offset;  // in the payload
  uint64_t length;
  std::byte* to;
};

// A quarter of the arena lets four reads overlap in a small one.
uint64_t longest_read(const BufferArena& arena) {
  const uint64_t quarter = round_down_to_block(arena.capacity() / 4);
  return std::clamp<uint64_t>(quarter, kBlockBytes, kMaxReadBytes);
}

// Cut so that each piece touches at most max_bytes of whole blocks.
void cut(uint64_t offset, uint64_t length, std::byte* to, uint64_t max_bytes, std::vector<Piece>& pieces) {
  while (length > 0) {
    const uint64_t room = round_down_to_block(offset) + max_bytes - offset;
    const uint64_t n = std::min(length, room);
    pieces.push_back({offset, n, to});
    offset += n, to += n, length -= n;
  }
}

std::vector<Piece> cut_all(const BlockFile& file, std::span<const int64_t> offsets, std::span<const int64_t> lengths,
                           std::span<std::byte> out, uint64_t max_bytes) {
  if (offsets.size() != lengths.size())
    throw InvalidArgument("read_ranges: " + std::to_string(offsets.size()) + " offsets and " +
                          std::to_string(lengths.size()) + " lengths");
  std::vector<Piece> pieces;
  pieces.reserve(offsets.size());
  uint64_t total = 0;
  for (size_t i = 0; i < offsets.size(); ++i) {
    if (offsets[i] < 0 || lengths[i] < 0)
      throw InvalidArgument("read_ranges: range " + std::to_string(i) + " has a negative offset or length");
    file.blocks_of(uint64_t(offsets[i]), uint64_t(lengths[i]));  // checks the range
    if (uint64_t(lengths[i]) > out.size() - total)
      throw InvalidArgument("read_ranges: out has " + std::to_string(out.size()) + " bytes, range " +
                            std::to_string(i) + " passes its end");
    cut(uint64_t(offsets[i]), uint64_t(lengths[i]), out.data() + total, max_bytes, pieces);
    total += uint64_t(lengths[i]);
  }
  if (total != out.size())
    throw InvalidArgument("read_ranges: out has " + std::to_string(out.size()) +
                          " bytes, expected the sum of lengths, " + std::to_string(total));
  return pieces;
}

std::vector<Piece> cut_apart(const BlockFile& file, std::span<const int64_t> offsets,
                             std::span<const std::span<std::byte>> outs, uint64_t max_bytes) {
  if (offsets.size() != outs.size())
    throw InvalidArgument("read_ranges_apart: " + std::to_string(offsets.size()) + " offsets and " +
                          std::to_string(outs.size()) + " outs");
  std::vector<Piece> pieces;
  for (size_t i = 0; i < offsets.size(); ++i) {
    if (offsets[i] < 0)
      throw InvalidArgument("read_ranges_apart: range " + std::to_string(i) + " has a negative offset");
    file.blocks_of(uint64_t(offsets[i]), outs[i].size());  // checks the range
    cut(uint64_t(offsets[i]), outs[i].size(), outs[i].data(), max_bytes, pieces);
  }
  return pieces;
}

uint64_t count_pages(std::span<const Extent> ranges, std::span<const uint32_t> order) {
  uint64_t pages = 0, end = 0;
  for (const uint32_t i : order) {
    const uint64_t begin = std::max(end, ranges[i].first_block);
    end = std::max(end, ranges[i].end_block());
    pages += end > begin ? end - begin : 0;
  }
  return pages;
}

// One call of read_ranges: extents go to the device in order, as room in queue and arena allows.
class Job {
 public:
  Job(const BlockFile& file, BufferArena& arena, const Stop& stop)
      : file_(file), arena_(arena), stop_(stop), queue_(file.reader().take_queue()) {}

  // The device writes into the leases until its reads are done, also when an error ends the job early.
  ~Job() {
    std::array<ReadCompletion, 16> ignored;
    while (queue_->in_flight() > 0) queue_->wait(1, ignored);
    file_.reader().give_back(std::move(queue_));
  }

  ReadUsage run(std::vector<Piece> pieces, uint64_t gap_bytes, uint64_t max_bytes) {
    pieces_ = std::move(pieces);
    ranges_.reserve(pieces_.size());
    for (const Piece& piece : pieces_) ranges_.push_back(file_.blocks_of(piece.offset, piece.length));
    merge_ranges(ranges_, gap_bytes, max_bytes, merged_);
    find_pieces_of_extents();
    leases_.resize(merged_.extents.size());
    while (next_ < merged_.extents.size() || queue_->in_flight() > 0) {
      stop_.check();
      start_reads();
      finish_reads();
    }
    return usage();
  }

 private:
  void find_pieces_of_extents() {
    first_piece_.assign(merged_.extents.size() + 1, merged_.order.size());
    for (size_t position = merged_.order.size(); position > 0; --position)
      first_piece_[merged_.extent_of[merged_.order[position - 1]]] = position - 1;
  }

  void start_reads() {
    requests_.clear();
    while (next_ < merged_.extents.size() && requests_.size() < queue_->room()) {
      const Extent& extent = merged_.extents[next_];
      const bool holds_some = queue_->in_flight() + requests_.size() > 0;
      if (holds_some && arena_.is_awaited()) break;
      leases_[next_] =
          holds_some ? arena_.try_lease(extent.length_bytes()) : arena_.lease(extent.length_bytes(), stop_);
      if (!leases_[next_]) break;
      requests_.push_back({file_.file(), extent.offset_bytes(), static_cast<uint32_t>(extent.length_bytes()),
                           leases_[next_].data(), next_});
      ++next_;
    }
    queue_->submit(requests_);
  }

  void finish_reads() {
    std::array<ReadCompletion, 32> completions;
    const size_t n = queue_->wait(1, completions);
    for (size_t i = 0; i < n; ++i) finish(completions[i]);
  }

  void finish(const ReadCompletion& completion) {
    const size_t which = completion.tag;
    const Extent& extent = merged_.extents[which];
    if (completion.error != 0) file_.fail(completion.error, extent.first_block, extent.num_blocks);
    const std::byte* data = leases_[which].data();
    file_.verify(extent.first_block, extent.num_blocks, data);
    const uint64_t begin = BlockFile::first_byte_of(extent.first_block);
    for (size_t position = first_piece_[which]; position < first_piece_[which + 1]; ++position) {
      const Piece& piece = pieces_[merged_.order[position]];
      std::memcpy(piece.to, data + (piece.offset - begin), piece.length);
    }
    leases_[which].reset();
  }

  ReadUsage usage() const {
    ReadUsage usage{.reads = merged_.extents.size(), .bytes = 0, .pages = count_pages(ranges_, merged_.order)};
    for (const Extent& extent : merged_.extents) usage.bytes += extent.length_bytes();
    return usage;
  }

  const BlockFile& file_;
  BufferArena& arena_;
  const Stop& stop_;
  std::unique_ptr<ReadQueue> queue_;
  std::vector<Piece> pieces_;
  std::vector<Extent> ranges_;  // of pieces_
  MergedRanges merged_;
  std::vector<size_t> first_piece_;  // of each extent, a position in merged_.order
  std::vector<BufferArena::Lease> leases_;
  std::vector<ReadRequest> requests_;
  size_t next_ = 0;  // the first extent not yet given to the device
};

}  // namespace

ReadUsage read_ranges(const BlockFile& file, std::span<const int64_t> offsets, std::span<const int64_t> lengths,
                      std::span<std::byte> out, uint64_t gap_bytes, BufferArena& arena, const Stop& stop) {
  const uint64_t max_bytes = longest_read(arena);
  auto pieces = cut_all(file, offsets, lengths, out, max_bytes);
  if (pieces.empty()) return {};
  return Job(file, arena, stop).run(std::move(pieces), gap_bytes, max_bytes);
}

ReadUsage read_ranges_apart(const BlockFile& file, std::span<const int64_t> offsets,
                            std::span<const std::span<std::byte>> outs, uint64_t gap_bytes, BufferArena& arena,
                            const Stop& stop) {
  const uint64_t max_bytes = longest_read(arena);
  auto pieces = cut_apart(file, offsets, outs, max_bytes);
  if (pieces.empty()) return {};
  return Job(file, arena, stop).run(std::move(pieces), gap_bytes, max_bytes);
}

}  // namespace outcrop
