// Joining the block ranges that a batch wants into fewer, longer device reads.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "io/block.hpp"

namespace outcrop {

// `num_blocks` blocks from `first_block` on.
struct Extent {
  uint64_t first_block;
  uint64_t num_blocks;

  uint64_t end_block() const { return first_block + num_blocks; }
  uint64_t offset_bytes() const { return first_block * kBlockBytes; }
  uint64_t length_bytes() const { return num_blocks * kBlockBytes; }
  bool operator==(const Extent&) const = default;
};

inline constexpr uint32_t kNoExtent = std::numeric_limits<uint32_t>::max();

struct MergedRanges {
  std::vector<Extent> extents;      // by first block
  std::vector<uint32_t> extent_of;  // for input range i, the extent that wholly holds it; kNoExtent for an empty range
  std::vector<uint32_t> order;      // the input ranges by first block; those of one extent are neighbours
};

// Sorts the ranges, drops repeats and joins neighbours whose gap is at most gap_bytes, as long as an extent stays
// within max_bytes. gap_bytes is best the device's bandwidth divided by its IOPS: to read that much extra costs as much
// as one more read. A range longer than max_bytes is an extent of its own (ranges inside it share it). Where two ranges
// overlap and their union would be too long, the overlap is read twice, so that every range lies in one extent. Throws
// InvalidArgument when a range passes the end of 64-bit bytes. The second form reuses the vectors of `merged`.
MergedRanges merge_ranges(std::span<const Extent> ranges, uint64_t gap_bytes, uint64_t max_bytes);
void merge_ranges(std::span<const Extent> ranges, uint64_t gap_bytes, uint64_t max_bytes, MergedRanges& merged);

}  // namespace outcrop
