#include "tiers/row_reads.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <map>
#include <string>
#include <utility>

#include "error.hpp"
#include "io/merge.hpp"

namespace outcrop {
namespace {

constexpr uint64_t kBounceReadBytes = RowReads::kLeastBounceBytes / 2;

void check(const RowExtent& extent, uint64_t out_bytes) {
  if (extent.out_offset <= out_bytes && extent.bytes <= out_bytes - extent.out_offset) return;
  throw InvalidArgument(extent.file->name() + ": an extent of " + std::to_string(extent.bytes) +
                        " bytes does not fit at " + std::to_string(extent.out_offset) + " of a tensor of " +
                        std::to_string(out_bytes));
}

void add_in_place(const RowExtent& extent, uint64_t begin, uint64_t end, std::vector<PlacedRead>& reads) {
  for (uint64_t offset = begin; offset < end; offset += RowReads::kReadBytes) {
    const uint64_t bytes = std::min(end - offset, RowReads::kReadBytes);
    reads.push_back(
        {extent.file, extent.file->blocks_of(offset, bytes), extent.out_offset + (offset - extent.offset), {}});
  }
}

using CopiesByFile = std::map<const BlockFile*, std::vector<RowCopy>>;

// The part [begin, end) of an extent, cut so that no piece is longer than a read by way of the buffer may be.
void add_copies(const RowExtent& extent, uint64_t begin, uint64_t end, std::vector<RowCopy>& copies) {
  for (uint64_t offset = begin; offset < end;) {
    const uint64_t stop = std::min(end, round_down_to_block(offset) + kBounceReadBytes);
    copies.push_back({offset, extent.out_offset + (offset - extent.offset), stop - offset});
    offset = stop;
  }
}

void place(const RowExtent& extent, std::vector<PlacedRead>& reads, std::vector<RowCopy>& copies) {
  extent.file->blocks_of(extent.offset, extent.bytes);  // throws when it passes the file's end
  const uint64_t end = extent.offset + extent.bytes;
  const bool congruent = extent.offset % kBlockBytes == extent.out_offset % kBlockBytes;
  const uint64_t first = round_up_to_block(extent.offset), last = round_down_to_block(end);
  if (!congruent || first >= last) return add_copies(extent, extent.offset, end, copies);
  add_copies(extent, extent.offset, first, copies);
  add_in_place(extent, first, last, reads);
  add_copies(extent, last, end, copies);
}

void add_master_rows(const MasterRows& master, uint64_t out_bytes, std::vector<RowCopy>& copies) {
  for (size_t i = 0; i < master.rows.size(); ++i) {
    const RowExtent row{master.file, master.keys[i] * master.row_bytes, master.rows[i] * master.row_bytes,
                        master.row_bytes};
    check(row, out_bytes);
    master.file->blocks_of(row.offset, row.bytes);
    add_copies(row, row.offset, row.offset + row.bytes, copies);
  }
}

// Pieces that are near each other come by one read.
void add_merged(const BlockFile& file, std::span<const RowCopy> copies, uint64_t gap_bytes,
                std::vector<PlacedRead>& reads) {
  std::vector<Extent> ranges;
  ranges.reserve(copies.size());
  for (const RowCopy& copy : copies) ranges.push_back(file.blocks_of(copy.offset, copy.bytes));
  const MergedRanges merged = merge_ranges(ranges, gap_bytes, kBounceReadBytes);
  const size_t first = reads.size();
  for (const Extent& extent : merged.extents) reads.push_back({&file, extent, 0, {}});
  for (const uint32_t i : merged.order) reads[first + merged.extent_of[i]].copies.push_back(copies[i]);
}

}  // namespace

std::vector<PlacedRead> place_reads(std::span<const RowExtent> extents, const MasterRows& master, uint64_t out_bytes) {
  std::vector<PlacedRead> reads;
  CopiesByFile copies;
  for (const RowExtent& extent : extents) {
    check(extent, out_bytes);
    if (extent.bytes > 0) place(extent, reads, copies[extent.file]);
  }
  if (!master.rows.empty()) add_master_rows(master, out_bytes, copies[master.file]);
  for (const auto& [file, pieces] : copies)
    add_merged(*file, pieces, file == master.file ? master.gap_bytes : 0, reads);
  std::ranges::sort(reads, [](const PlacedRead& a, const PlacedRead& b) {
    return std::pair(a.file->file(), a.blocks.first_block) < std::pair(b.file->file(), b.blocks.first_block);
  });
  return reads;
}

RowReads::RowReads(std::shared_ptr<BlockReader> reader, size_t bounce_bytes)
    : reader_(std::move(reader)),
      bounce_(std::max(bounce_bytes, kLeastBounceBytes)),
      queue_(reader_->take_queue()),
      in_flight_(queue_->capacity()) {
  for (size_t i = in_flight_.size(); i > 0; --i) free_.push_back(static_cast<uint32_t>(i - 1));
}

RowReads::~RowReads() {
  drain();
  reader_->give_back(std::move(queue_));
}

void RowReads::drain() {
  std::array<ReadCompletion, 64> ignored;
  while (queue_->in_flight() > 0) queue_->wait(1, ignored);
}

void RowReads::add(uint64_t tag, std::vector<PlacedRead> reads, std::byte* out, bool urgent) {
  for (const PlacedRead& read : reads)
    if (&read.file->reader() != reader_.get())
      throw InvalidArgument(read.file->name() + ": opened by another reader than the one that is to read it");
  auto job = std::make_unique<Job>(Job{tag, std::move(reads), out, 0, 0});
  job->remaining = job->reads.size();
  if (job->remaining == 0) finished_.push_back(tag);
  jobs_.insert(urgent ? jobs_.begin() : jobs_.end(), std::move(job));
}

std::vector<uint64_t> RowReads::pump() {
  start();
  if (queue_->in_flight() > 0) {
    std::array<ReadCompletion, 64> completions;
    const size_t n = queue_->wait(finished_.empty() ? 1 : 0, completions);
    for (size_t i = 0; i < n; ++i) arrived(completions[i]);
    start();  // the device is busy while the caller looks at what has come
  }
  std::erase_if(jobs_, [](const auto& job) { return job->remaining == 0; });
  return std::exchange(finished_, {});
}

void RowReads::start() {
  for (const auto& job : jobs_)
    while (job->next < job->reads.size())
      if (!start_next(*job)) return;
}

// False when there is no room for it.
bool RowReads::start_next(Job& job) {
  if (free_.empty() || bytes_in_flight_ >= kBytesInFlight) return false;
  const PlacedRead& read = job.reads[job.next];
  BufferArena::Lease lease;
  if (!read.copies.empty()) {
    lease = bounce_.try_lease(read.blocks.length_bytes());
    assert(lease || queue_->in_flight() > 0);  // no placed read is longer than half of the empty buffer
    if (!lease) return false;
  }
  const uint32_t place = free_.back();
  free_.pop_back();
  std::byte* buffer = lease ? lease.data() : job.out + read.out_offset;
  const ReadRequest request{read.file->file(), read.blocks.offset_bytes(),
                            static_cast<uint32_t>(read.blocks.length_bytes()), buffer, place};
  in_flight_[place] = {&job, job.next, std::move(lease)};
  queue_->submit({&request, 1});
  bytes_in_flight_ += request.length;
  ++job.next;
  return true;
}

void RowReads::arrived(const ReadCompletion& completion) {
  InFlight& place = in_flight_[completion.tag];
  Job& job = *place.job;
  const PlacedRead& read = job.reads[place.read];
  if (completion.error != 0) read.file->fail(completion.error, read.blocks.first_block, read.blocks.num_blocks);
  const std::byte* data = place.lease ? place.lease.data() : job.out + read.out_offset;
  read.file->verify(read.blocks.first_block, read.blocks.num_blocks, data);
  const uint64_t begin = BlockFile::first_byte_of(read.blocks.first_block);
  for (const RowCopy& copy : read.copies)
    std::memcpy(job.out + copy.out_offset, data + (copy.offset - begin), copy.bytes);
  bytes_in_flight_ -= read.blocks.length_bytes();
  ++counts_.reads;
  counts_.bytes += read.blocks.length_bytes();
  place.lease.reset();
  place.job = nullptr;
  free_.push_back(static_cast<uint32_t>(completion.tag));
  if (--job.remaining == 0) finished_.push_back(job.tag);
}

}  // namespace outcrop
