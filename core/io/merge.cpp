#include "io/merge.hpp"

#include <algorithm>
#include <numeric>
#include <string>

#include "error.hpp"

namespace outcrop {
namespace {

constexpr uint64_t kMaxBlock = std::numeric_limits<uint64_t>::max() / kBlockBytes;

void check_ranges(std::span<const Extent> ranges) {
  if (ranges.size() >= kNoExtent)
    throw InvalidArgument("merge: " + std::to_string(ranges.size()) + " ranges, at most 2^32 - 2 are taken");
  for (const Extent& range : ranges)
    if (range.first_block > kMaxBlock || range.num_blocks > kMaxBlock - range.first_block)
      throw InvalidArgument("merge: range of " + std::to_string(range.num_blocks) + " blocks from block " +
                            std::to_string(range.first_block) + " passes the end of 64-bit offsets");
}

// The longer of two that begin together comes first, so that the shorter falls inside it.
void sort_order(std::span<const Extent> ranges, std::vector<uint32_t>& order) {
  order.resize(ranges.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    const Extent &x = ranges[a], &y = ranges[b];
    if (x.first_block != y.first_block) return x.first_block < y.first_block;
    if (x.num_blocks != y.num_blocks) return x.num_blocks > y.num_blocks;
    return a < b;
  });
}

// Whether `extent` may grow to hold `range`, which begins at or after it.
bool joins(const Extent& extent, const Extent& range, uint64_t gap_blocks, uint64_t max_blocks) {
  if (range.end_block() <= extent.end_block()) return true;
  if (range.first_block > extent.end_block() && range.first_block - extent.end_block() > gap_blocks) return false;
  return range.end_block() - extent.first_block <= max_blocks;
}

}  // namespace

void merge_ranges(std::span<const Extent> ranges, uint64_t gap_bytes, uint64_t max_bytes, MergedRanges& merged) {
  check_ranges(ranges);
  merged.extents.clear();
  merged.extent_of.assign(ranges.size(), kNoExtent);
  sort_order(ranges, merged.order);
  for (const uint32_t i : merged.order) {
    const Extent& range = ranges[i];
    if (range.num_blocks == 0) continue;
    if (merged.extents.empty() ||
        !joins(merged.extents.back(), range, gap_bytes / kBlockBytes, max_bytes / kBlockBytes)) {
      merged.extents.push_back(range);
    } else {
      Extent& last = merged.extents.back();
      last.num_blocks = std::max(last.end_block(), range.end_block()) - last.first_block;
    }
    merged.extent_of[i] = static_cast<uint32_t>(merged.extents.size() - 1);
  }
}

MergedRanges merge_ranges(std::span<const Extent> ranges, uint64_t gap_bytes, uint64_t max_bytes) {
  MergedRanges merged;
  merge_ranges(ranges, gap_bytes, max_bytes, merged);
  return merged;
}

}  // namespace outcrop
