#include <algorithm>
#include <random>
#include <set>

#include "error.hpp"
#include "io/block.hpp"
#include "loader/scheduler.hpp"
#include "tests/check.hpp"
#include "tiers/look_ahead.hpp"

namespace outcrop::testing {
namespace {

constexpr uint32_t kRows = 3000;

// Two types, the second one scheduled; three segments, and a layer whose edges tell their source's id.
SampledMinibatch minibatch_of(std::mt19937& random) {
  SampledMinibatch made;
  std::set<uint32_t> drawn;
  for (int i = 0; i < 900; i++) drawn.insert(static_cast<uint32_t>(random() % kRows * (random() % kRows) / kRows));
  std::vector<uint32_t> nodes(drawn.begin(), drawn.end());
  std::shuffle(nodes.begin(), nodes.end(), random);
  const auto n = static_cast<uint32_t>(nodes.size());
  SampledLayer layer;
  layer.src_type = 1;
  layer.dst_end = 1;
  layer.indptr = {0, n};
  for (uint32_t row = 0; row < n; row++) {
    layer.indices.push_back(row);
    layer.edges.push_back(nodes[row]);
  }
  made.nodes = {{7}, std::move(nodes)};
  made.hop_offsets = {{0, 1, 1, 1}, {0, n / 10, n / 10, n}};
  made.layers = {std::move(layer)};
  return made;
}

TEST(scheduler_orders_each_segment_as_log_and_cache_have_it_and_its_recipes_fetch_every_row) {
  const unsigned seed = std::random_device{}();
  std::mt19937 random(seed);
  for (const size_t capacity : {0u, 100u, 1500u, 3000u}) {
    std::vector<SampledMinibatch> batches;
    for (int b = 0; b < 12; b++) batches.push_back(minibatch_of(random));
    std::vector<std::vector<uint32_t>> next_use(batches.size());
    NextUses future(kRows, kNever);
    for (size_t b = batches.size(); b-- > 0;) {
      next_use[b].resize(batches[b].nodes[1].size());
      future.before(static_cast<uint32_t>(b), batches[b].nodes[1], next_use[b]);
    }
    Scheduler scheduler(1, kRows, capacity);
    std::vector<uint32_t> slab(capacity, kMiss);
    for (uint32_t b = 0; b < batches.size(); b++) {
      const SampledMinibatch before = batches[b];
      const StreamRecipe recipe = scheduler.step(b, batches[b], next_use[b]);
      const std::vector<uint32_t>& nodes = batches[b].nodes[1];
      CHECK_EQUAL(recipe.type, 1u);
      REQUIRE(recipe.segments.size() == 3);
      size_t row = 0, hit = 0;
      for (size_t s = 0; s < 3; s++) {
        const SegmentMove& segment = recipe.segments[s];
        CHECK_EQUAL(row, before.hop_offsets[1][s]);
        CHECK(std::is_sorted(nodes.begin() + row, nodes.begin() + row + segment.num_misses));
        row += segment.num_misses;
        CHECK(std::is_sorted(recipe.hit_slots.begin() + hit, recipe.hit_slots.begin() + hit + segment.num_hits));
        for (size_t i = 0; i < segment.num_hits; i++) CHECK_EQUAL(slab[recipe.hit_slots[hit++]], nodes[row++]);
      }
      CHECK_EQUAL(row, nodes.size());
      CHECK_EQUAL(hit, recipe.hit_slots.size());
      CHECK(std::is_sorted(recipe.insert_rows.begin(), recipe.insert_rows.end()));
      CHECK(std::is_sorted(recipe.insert_slots.begin(), recipe.insert_slots.end()));
      for (size_t i = 0; i < recipe.insert_rows.size(); i++)
        slab[recipe.insert_slots[i]] = nodes[recipe.insert_rows[i]];
      // The layer still joins the nodes that it joined.
      const SampledLayer& layer = batches[b].layers[0];
      for (size_t e = 0; e < layer.indices.size(); e++) CHECK_EQUAL(nodes[layer.indices[e]], layer.edges[e]);
    }
    const NextUseStatistics& statistics = scheduler.cache().statistics();
    if (capacity == 0) CHECK_EQUAL(statistics.hits, uint64_t{0});
    if (capacity == kRows && statistics.hits == 0)
      record_failure(__FILE__, __LINE__, "nothing is ever hit; seed " + std::to_string(seed));
  }
}

TEST(scheduler_takes_a_node_that_stands_in_two_trees) {
  SampledMinibatch batch;
  batch.nodes = {{5, 5, 6}};
  batch.hop_offsets = {{0, 2, 3}};
  batch.trees = {{0, 1, 0}};
  Scheduler scheduler(0, 10, 4);
  SampledMinibatch first = batch;
  const StreamRecipe missed = scheduler.step(0, first, std::vector<uint32_t>{1, 1, 1});
  CHECK_EQUAL(missed.segments[0].num_misses, uint64_t{2});
  CHECK_EQUAL(missed.insert_rows.size(), size_t{2});
  SampledMinibatch second = batch;
  const StreamRecipe hit = scheduler.step(1, second, std::vector<uint32_t>{kNever, kNever, kNever});
  CHECK_EQUAL(hit.hit_slots.size(), size_t{3});
  CHECK_EQUAL(hit.hit_slots[0], hit.hit_slots[1]);
}

TEST(scheduler_refuses_a_minibatch_without_its_type_or_with_wrong_segments) {
  SampledMinibatch batch;
  batch.nodes = {{1, 2}};
  batch.hop_offsets = {{0, 1}};
  CHECK_THROWS(Scheduler(1, 10, 4).step(0, batch, {}), InvalidArgument, "expected node type 1");
  CHECK_THROWS(Scheduler(0, 10, 4).step(0, batch, {}), InvalidArgument, "do not ascend from 0 to its 2 nodes");
}

TEST(segments_get_places_whose_blocks_are_blocks_of_the_minibatch) {
  for (const uint64_t row_bytes : {4u, 100u, 512u, 4096u, 5000u, 34'000u}) {
    StreamRecipe recipe;
    recipe.segments = {{3, 1, 0}, {0, 9, 0}, {7, 0, 0}, {1, 2, 0}};
    const uint64_t end = place_in_log(recipe, row_bytes, 12'345);
    uint64_t base = 0, last = 12'345;
    for (const SegmentMove& segment : recipe.segments) {
      if (segment.num_misses > 0) {
        CHECK_EQUAL(segment.log_offset % kBlockBytes, base * row_bytes % kBlockBytes);
        CHECK(segment.log_offset >= round_up_to_block(last));
        CHECK(segment.log_offset - last < 2 * kBlockBytes);
        last = segment.log_offset + segment.num_misses * row_bytes;
      }
      base += segment.num_misses + segment.num_hits;
    }
    CHECK_EQUAL(end, last);
  }
}

}  // namespace
}  // namespace outcrop::testing
