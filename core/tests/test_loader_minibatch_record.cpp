#include <algorithm>
#include <cstring>

#include "error.hpp"
#include "loader/minibatch_record.hpp"
#include "tests/check.hpp"
#include "tests/io_files.hpp"

namespace outcrop::testing {
namespace {

// Two seeds of type 1 that draw three edges from type 0; a cache of 8 slots.
SampledMinibatch small_minibatch() {
  SampledMinibatch m;
  m.epoch = 3, m.batch = 7, m.seed_type = 1, m.link_src_type = 1;
  m.nodes = {{40, 10, 30}, {5, 6}};
  m.hop_offsets = {{0, 0, 3}, {0, 2, 2}};
  m.layers = {{.edge_type = 0,
               .src_type = 0,
               .dst_type = 1,
               .hop = 0,
               .dst_begin = 0,
               .dst_end = 2,
               .indptr = {0, 2, 3},
               .indices = {1, 0, 2},
               .edges = {100, 101, 250}}};
  m.seed_rows = {0, 1, 0};
  return m;
}

std::vector<StreamRecipe> small_recipes() {
  return {
      {.type = 0, .segments = {{0, 0, 0}, {2, 1, 4096}}, .hit_slots = {7}, .insert_rows = {1}, .insert_slots = {4}}};
}

RecordBounds small_bounds() {
  return {
      .num_nodes = {50, 10}, .num_edge_types = 1, .streams = {{.num_slots = 8, .row_bytes = 16, .log_bytes = 8192}}};
}

void expect_refused(const RecordBounds& bounds, const char* part) {
  const auto bytes = write_record(small_minibatch(), small_recipes());
  CHECK_THROWS(MinibatchView::parse(bytes, "m").check(bounds, "m"), CorruptFile, part);
}

TEST(a_record_gives_back_what_was_written) {
  const auto bytes = write_record(small_minibatch(), small_recipes());
  CHECK_EQUAL(bytes.size(), kRecordAlignment);
  const auto view = MinibatchView::parse(bytes, "m");
  view.check(small_bounds(), "m");
  const SampledMinibatch copy = view.copied(), expected = small_minibatch();
  CHECK(copy.nodes == expected.nodes && copy.hop_offsets == expected.hop_offsets && copy.trees == expected.trees);
  CHECK(copy.seed_rows == expected.seed_rows && copy.labels == expected.labels);
  CHECK(copy.epoch == 3 && copy.batch == 7 && copy.seed_type == 1 && copy.link_src_type == 1);
  REQUIRE(copy.layers.size() == 1);
  const SampledLayer &layer = copy.layers[0], &wanted = expected.layers[0];
  CHECK(layer.indptr == wanted.indptr && layer.indices == wanted.indices && layer.edges == wanted.edges);
  CHECK(layer.src_type == 0 && layer.dst_type == 1 && layer.dst_begin == 0 && layer.dst_end == 2);
  REQUIRE(view.streams.size() == 1);
  const StreamRecipe recipe = small_recipes()[0];
  CHECK(std::ranges::equal(view.streams[0].segments, recipe.segments));
  CHECK(std::ranges::equal(view.streams[0].hit_slots, recipe.hit_slots));
  CHECK(std::ranges::equal(view.streams[0].insert_rows, recipe.insert_rows));
  CHECK(std::ranges::equal(view.streams[0].insert_slots, recipe.insert_slots));
}

TEST(trees_labels_and_missing_recipes_survive_a_record) {
  SampledMinibatch m = small_minibatch();
  m.trees = {{0, 1, 1}, {0, 1}};
  m.seed_rows = {0, 1, 1, 0};
  m.labels = {1, 0};
  const auto bytes = write_record(m, {});
  const auto copy = MinibatchView::parse(bytes, "m").copied();
  CHECK(copy.trees == m.trees);
  CHECK(copy.labels == m.labels);
}

TEST(a_value_outside_of_its_bounds_is_corrupt) {
  auto bounds = small_bounds();
  bounds.num_nodes[0] = 40;
  expect_refused(bounds, "node: found 40, expected less than 40");
  bounds = small_bounds();
  bounds.num_edge_types = 0;
  expect_refused(bounds, "edge type");
  bounds = small_bounds();
  bounds.streams[0].num_slots = 7;
  expect_refused(bounds, "hit slot: found 7");
  bounds = small_bounds();
  bounds.streams[0].log_bytes = 4096 + 31;
  expect_refused(bounds, "end of the log");
  bounds = small_bounds();
  bounds.streams.clear();
  expect_refused(bounds, "streams of the plan");
}

TEST(what_cannot_be_parsed_is_not_written) {
  SampledMinibatch m = small_minibatch();
  m.hop_offsets[0] = {0, 2, 1};
  CHECK_THROWS(write_record(m, {}), CorruptFile, "hop offsets");
  m = small_minibatch();
  m.layers[0].indptr = {0, 3};
  CHECK_THROWS(write_record(m, {}), InvalidArgument, "indptr");
  auto recipes = small_recipes();
  recipes[0].segments[1].num_hits = 2;
  CHECK_THROWS(write_record(small_minibatch(), recipes), CorruptFile, "do not add up");
}

// The sanitizers see to it that no parse leaves the bytes; here each is either refused or stays within its arrays.
TEST(a_damaged_record_is_refused_or_stays_within_its_bytes) {
  const auto bytes = write_record(small_minibatch(), small_recipes());
  size_t refused = 0;
  for (size_t at = 0; at < 512; ++at)
    for (const std::byte flip : {std::byte{1}, std::byte{0x80}, std::byte{0xff}}) {
      auto damaged = bytes;
      damaged[at] ^= flip;
      try {
        const auto view = MinibatchView::parse(damaged, "m");
        view.check(small_bounds(), "m");
        const auto copy = view.copied();
        for (const auto& layer : view.layers) CHECK(layer.indptr.back() == layer.indices.size());
        CHECK(copy.nodes.size() == view.types.size());
      } catch (const CorruptFile&) {
        ++refused;
      }
    }
  CHECK(refused > 512);
}

TEST(a_record_that_is_cut_short_is_refused) {
  const auto bytes = write_record(small_minibatch(), small_recipes());
  uint64_t record_bytes;
  std::memcpy(&record_bytes, bytes.data() + 8, sizeof record_bytes);
  for (size_t length = 0; length < record_bytes; length += 8)
    CHECK_THROWS(MinibatchView::parse(std::span(bytes).first(length), "m"), CorruptFile, "m: ");
}

}  // namespace
}  // namespace outcrop::testing
