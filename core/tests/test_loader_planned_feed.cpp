#include <algorithm>

#include "error.hpp"
#include "loader/planned_feed.hpp"
#include "tests/check.hpp"
#include "tests/io_files.hpp"

namespace outcrop::testing {
namespace {

constexpr uint64_t kRowBytes = 100;

// Two hop segments of one type: rows 0 and 1 missed, 2 and 3 hit; row 4 missed, row 5 hit.
SampledMinibatch six_nodes() {
  SampledMinibatch minibatch;
  minibatch.epoch = 1, minibatch.batch = 2;
  minibatch.nodes = {{10, 11, 12, 13, 14, 15}};
  minibatch.hop_offsets = {{0, 4, 6}};
  minibatch.seed_rows = {0, 1, 2, 3};
  return minibatch;
}

StreamRecipe its_recipe() {
  StreamRecipe recipe;
  recipe.segments = {{2, 2, 0}, {1, 1, 4096 + 400}};
  recipe.hit_slots = {7, 8, 0};
  recipe.insert_rows = {1, 4}, recipe.insert_slots = {7, 2};
  return recipe;
}

struct Fixture {
  TemporaryFolder folder;
  std::shared_ptr<BlockReader> reader = BlockReader::open({});
  Bytes record;
  PlannedFiles files;
  RecordBounds bounds{{20}, 0, {{9, kRowBytes, 0}}};

  explicit Fixture(const StreamRecipe& recipe = its_recipe()) {
    const auto one = write_record(six_nodes(), {&recipe, 1});
    record.assign(one.begin(), one.end());
    Bytes twice = record;
    twice.insert(twice.end(), record.begin(), record.end());
    write_file(folder.file("minibatches.blk"), block_file_image("minibatches", twice));
    write_file(folder.file("log-0.blk"), block_file_image("log", random_bytes(5000, 1)));
    files.records = BlockFile::open(reader, folder.file("minibatches.blk"));
    files.logs = {BlockFile::open(reader, folder.file("log-0.blk"))};
  }

  PlannedFeed feed(uint64_t passes = 1) const {
    const auto size = int64_t(record.size());
    return PlannedFeed(files, {0, size, 2 * size}, passes, bounds);
  }
};

TEST(a_plans_record_becomes_extents_of_its_log_and_hits_of_the_cache) {
  const Fixture f;
  PlannedFeed feed = f.feed();
  FeedRecipes out;
  for (int again = 0; again < 2; ++again) {
    feed.recipes(0, f.record, out);
    REQUIRE(out.recipes.size() == 1);
    const Recipe& recipe = out.recipes[0];
    const BlockFile* log = f.files.logs[0].get();
    CHECK_EQUAL(recipe.num_rows, uint64_t{6});
    CHECK(recipe.extents == (std::vector<RowExtent>{{log, 0, 0, 200}, {log, 4496, 400, 100}}));
    CHECK(std::ranges::equal(recipe.hit_rows, std::vector<uint32_t>{2, 3, 5}));
    CHECK(std::ranges::equal(recipe.hit_slots, std::vector<uint32_t>{7, 8, 0}));
    CHECK(std::ranges::equal(recipe.insert_rows, std::vector<uint32_t>{1, 4}));
    CHECK(std::ranges::equal(recipe.insert_slots, std::vector<uint32_t>{7, 2}));
  }
}

TEST(a_plan_is_gone_through_as_often_as_it_is_asked_for) {
  const Fixture f;
  const PlannedFeed feed = f.feed(3);
  CHECK_EQUAL(feed.num_minibatches(), uint64_t{6});
  CHECK_EQUAL(feed.max_record_bytes(), f.record.size());
  CHECK_EQUAL(feed.record(4).offset, uint64_t{0});
  CHECK_EQUAL(feed.record(5).offset, f.record.size());
  CHECK_EQUAL(feed.record(5).bytes, f.record.size());
}

TEST(a_record_whose_numbers_leave_the_plan_is_corrupt) {
  const auto refused = [](auto change, const char* part) {
    StreamRecipe recipe = its_recipe();
    change(recipe);
    const Fixture f(recipe);
    PlannedFeed feed = f.feed();
    FeedRecipes out;
    CHECK_THROWS(feed.recipes(1, f.record, out), CorruptFile, part);
    CHECK_THROWS(feed.recipes(1, f.record, out), CorruptFile, "minibatches.blk: record 1 at byte");
  };
  refused([](StreamRecipe& r) { r.insert_rows[0] = 2; }, "insert row 2 is not one that was missed");
  refused([](StreamRecipe& r) { r.insert_rows[1] = 5; }, "insert row 5 is not one that was missed");
  refused([](StreamRecipe& r) { r.hit_slots[1] = 9; }, "hit slot");
  refused([](StreamRecipe& r) { r.insert_slots[1] = 9; }, "insert slot");
  refused([](StreamRecipe& r) { r.segments[1].log_offset = 4901; }, "log");
}

TEST(offsets_that_are_not_those_of_records_are_corrupt) {
  const Fixture f;
  const auto open = [&](std::vector<int64_t> offsets) { return PlannedFeed(f.files, offsets, 1, f.bounds); };
  const auto size = int64_t(f.record.size());
  for (const auto& wrong : {std::vector<int64_t>{0, size + 8}, {0, 0}, {size, 0}, {-size, 0}, {0, 3 * size}})
    CHECK_THROWS(open(wrong), CorruptFile, "minibatches.blk: record");
  CHECK_THROWS(open({}), InvalidArgument, "at least the end");
  CHECK_THROWS(PlannedFeed({f.files.records, {}}, {0, size}, 1, f.bounds), InvalidArgument, "0 logs and 1 streams");
}

}  // namespace
}  // namespace outcrop::testing
