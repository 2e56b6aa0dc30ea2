#include <algorithm>
#include <random>

#include "error.hpp"
#include "io/merge.hpp"
#include "tests/check.hpp"

namespace outcrop::testing {
namespace {

using Extents = std::vector<Extent>;
constexpr uint64_t kNoLimit = uint64_t{1} << 40;

TEST(merge_joins_touching_and_repeated_ranges_and_keeps_far_ones_apart) {
  const auto merged = merge_ranges(Extents{{9, 1}, {1, 2}, {3, 1}, {1, 2}}, 0, kNoLimit);
  CHECK(merged.extents == (Extents{{1, 3}, {9, 1}}));
  CHECK(merged.extent_of == (std::vector<uint32_t>{1, 0, 0, 0}));
}

TEST(merge_bridges_a_gap_up_to_gap_bytes) {
  const Extents ranges{{1, 1}, {4, 1}};  // two blocks lie between
  CHECK_EQUAL(merge_ranges(ranges, 2 * kBlockBytes, kNoLimit).extents.size(), size_t{1});
  CHECK_EQUAL(merge_ranges(ranges, 2 * kBlockBytes - 1, kNoLimit).extents.size(), size_t{2});
}

TEST(merge_leaves_a_range_longer_than_max_bytes_alone) {
  const auto merged = merge_ranges(Extents{{1, 100}, {101, 1}, {50, 2}}, 0, 8 * kBlockBytes);
  CHECK(merged.extents == (Extents{{1, 100}, {101, 1}}));
  CHECK_EQUAL(merged.extent_of[2], 0u);
}

TEST(merge_gives_an_empty_range_no_extent) {
  const auto merged = merge_ranges(Extents{{5, 0}, {7, 1}}, 0, kNoLimit);
  CHECK(merged.extents == (Extents{{7, 1}}));
  CHECK_EQUAL(merged.extent_of[0], kNoExtent);
  CHECK(merge_ranges(Extents{}, 0, 0).extents.empty());
}

TEST(merge_refuses_ranges_past_the_end_of_offsets) {
  CHECK_THROWS(merge_ranges(Extents{{UINT64_MAX / 2, 1}}, 0, 0), InvalidArgument, "passes the end");
  CHECK_THROWS(merge_ranges(Extents{{1, UINT64_MAX}}, 0, 0), InvalidArgument, "passes the end");
}

TEST(merge_covers_every_range_within_its_limits_whatever_comes) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    Extents ranges(random() % 40);
    for (Extent& range : ranges) range = {random() % 100, random() % 6};
    const uint64_t gap = random() % 4, most = 1 + random() % 12;
    const auto merged = merge_ranges(ranges, gap * kBlockBytes, most * kBlockBytes);
    for (size_t i = 0; i < ranges.size(); ++i) {
      if (ranges[i].num_blocks == 0) continue;
      const Extent& extent = merged.extents.at(merged.extent_of[i]);
      CHECK(extent.first_block <= ranges[i].first_block && ranges[i].end_block() <= extent.end_block());
      CHECK(extent.num_blocks <= std::max(most, ranges[i].num_blocks) || extent.num_blocks <= 5);
    }
    CHECK(std::is_sorted(merged.extents.begin(), merged.extents.end(),
                         [](auto& a, auto& b) { return a.first_block < b.first_block; }));
    uint32_t last = 0;
    for (uint32_t i : merged.order) {
      if (merged.extent_of[i] == kNoExtent) continue;
      CHECK(merged.extent_of[i] >= last);
      last = merged.extent_of[i];
    }
  }
}

}  // namespace
}  // namespace outcrop::testing
