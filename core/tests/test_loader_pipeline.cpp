#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "error.hpp"
#include "kernels/row_codec.hpp"
#include "loader/pipeline.hpp"
#include "tests/check.hpp"
#include "tests/io_faults.hpp"
#include "tests/loader_files.hpp"

namespace outcrop::testing {
namespace {

constexpr int64_t kPatience = 10000;

struct Loader {
  TestPlan plan;
  std::unique_ptr<Pipeline> pipeline;

  explicit Loader(const TestPlanOptions& options, const ReaderOptions& reader = {}, size_t num_slots = 3,
                  size_t num_threads = 1, RowCodec codec = RowCodec::raw, bool decode = false)
      : plan(options, reader) {
    open(num_slots, num_threads, codec, decode);
  }

  void open(size_t num_slots, size_t num_threads = 1, RowCodec codec = RowCodec::raw, bool decode = false) {
    std::vector<Assembler> assemblers;
    for (size_t s = 0; s < plan.options.streams.size(); ++s) {
      const auto& stream = plan.options.streams[s];
      assemblers.emplace_back(
          std::make_shared<RowSlab>(stream.num_slots, stream.row_bytes),
          AssemblerOptions{row_format(codec, stream.row_bytes), decode, num_threads, plan.masters[s], 4096});
    }
    PipelineOptions options;
    options.num_slots = num_slots, options.max_record_bytes = 8192, options.max_rows = plan.max_rows;
    pipeline = std::make_unique<Pipeline>(plan.reader, plan.feed(), std::move(assemblers), options);
  }

  std::shared_ptr<LoadedMinibatch> next() { return pipeline->next(kPatience).minibatch; }

  // Whether it is the minibatch of the plan, byte by byte.
  void check(const LoadedMinibatch& minibatch, size_t position) const {
    CHECK_EQUAL(minibatch.position(), position);
    CHECK(std::ranges::equal(minibatch.record(), plan.record(position)));
    for (size_t s = 0; s < plan.options.streams.size(); ++s) {
      const Bytes expected = plan.expected_rows(position, s);
      REQUIRE(minibatch.num_rows(s) * plan.options.streams[s].row_bytes == expected.size());
      CHECK(std::memcmp(minibatch.tensor(s).coded, expected.data(), expected.size()) == 0);
    }
  }

  void check_all() {
    for (size_t i = 0; i < plan.options.num_minibatches; ++i) {
      const auto minibatch = next();
      REQUIRE(minibatch != nullptr);
      check(*minibatch, i);
    }
    CHECK(next() == nullptr);
    CHECK(next() == nullptr);
  }
};

TestPlanOptions one_stream(size_t row_bytes, size_t num_slots = 60) {
  return {.streams = {{row_bytes, 300, num_slots}}};
}

TEST(a_pipeline_gives_every_row_of_every_minibatch_whatever_its_width_and_reader) {
  for (const ReaderKind kind : {ReaderKind::automatic, ReaderKind::pread, ReaderKind::memory})
    for (const size_t row_bytes : {4, 12, 100, 512, 1000, 4096, 5000, 34000}) {
      TestPlanOptions options = one_stream(row_bytes, 30);
      options.num_minibatches = 5;
      Loader(options, {.kind = kind}).check_all();
    }
}

TEST(a_pipeline_reads_logs_that_are_not_laid_out_for_reads_in_place) {
  for (const size_t row_bytes : {4, 600, 34000}) {
    TestPlanOptions options = one_stream(row_bytes);
    options.congruent = false;
    Loader(options).check_all();
  }
}

TEST(a_pipeline_serves_several_streams_and_none) {
  Loader({.streams = {{512, 300, 60}, {20, 500, 100}, {4096, 100, 7}}}).check_all();
  Loader({.streams = {}}).check_all();
}

TEST(a_pipeline_works_with_caches_of_no_slot_one_slot_and_all_rows) {
  for (const size_t num_slots : {0, 1, 300}) Loader(one_stream(512, num_slots)).check_all();
}

TEST(a_pipeline_works_with_one_minibatch_and_with_two_slots_and_threads) {
  TestPlanOptions one = one_stream(512);
  one.num_minibatches = 1;
  Loader(one).check_all();
  TestPlanOptions wide = one_stream(34000, 100);
  wide.num_minibatches = 4;
  Loader(wide, {}, 2, 2).check_all();
}

TEST(a_pipeline_decodes_rows_of_every_tier) {
  Loader loader(one_stream(200), {}, 3, 2, RowCodec::bfloat16, true);
  const RowFormat format = row_format(RowCodec::bfloat16, 200);
  for (size_t i = 0; i < loader.plan.options.num_minibatches; ++i) {
    const auto minibatch = loader.next();
    REQUIRE(minibatch != nullptr);
    const Bytes coded = loader.plan.expected_rows(i, 0);
    std::vector<float> expected(coded.size() / 2);
    decode_rows(format, coded.data(), minibatch->num_rows(0), 200, expected.data());
    CHECK(std::memcmp(minibatch->tensor(0).decoded, expected.data(), expected.size() * 4) == 0);
  }
}

TEST(a_minibatch_stays_valid_while_it_is_held_and_after_the_pipeline_has_gone) {
  auto loader = std::make_unique<Loader>(one_stream(512));
  const auto first = loader->next();
  for (size_t i = 1; i < 6; ++i) loader->check(*loader->next(), i);
  loader->check(*first, 0);
  loader->pipeline.reset();
  loader->check(*first, 0);
}

TEST(next_refuses_when_the_caller_holds_all_slots_and_goes_on_when_one_comes_back) {
  Loader loader(one_stream(512));
  std::vector<std::shared_ptr<LoadedMinibatch>> held;
  for (size_t i = 0; i < 3; ++i) held.push_back(loader.next());
  CHECK_THROWS(loader.next(), ResourceExhausted, "all 3 slots hold minibatches");
  held.erase(held.begin() + 1);
  loader.check(*loader.next(), 3);
  loader.check(*held[0], 0);
  loader.check(*held[1], 2);
}

TEST(a_damaged_log_ends_the_pipeline_with_the_name_of_the_file_behind_what_was_ready) {
  Loader loader(one_stream(512));
  loader.pipeline.reset();
  Bytes image = read_file(loader.plan.log_path(0));
  image[image.size() / 2] ^= std::byte{1};
  write_file(loader.plan.log_path(0), image);
  loader.open(3);
  size_t good = 0;
  const auto drain = [&] {
    while (const auto minibatch = loader.next()) loader.check(*minibatch, good++);
  };
  CHECK_THROWS(drain(), CorruptFile, "log-0.blk: block");
  CHECK(good < loader.plan.options.num_minibatches);
  CHECK_THROWS(loader.next(), CorruptFile, "log-0.blk: block");
}

TEST(a_device_error_surfaces_with_its_errno) {
  auto faults = std::make_shared<Faults>();
  std::atomic<int> answers{0};
  faults->on_answer = [&](uint32_t, std::byte*, int64_t result) { return ++answers > 8 ? -EIO : result; };
  Loader loader(one_stream(512), {.faults = faults});
  const auto drain = [&] {
    while (loader.next()) continue;
  };
  CHECK_THROWS(drain(), StorageFailure, "block");
}

TEST(short_reads_are_finished) {
  auto faults = std::make_shared<Faults>();
  faults->on_answer = [](uint32_t length, std::byte*, int64_t result) -> int64_t {
    return length > 8192 ? std::min<int64_t>(result, 8192) : result;
  };
  Loader(one_stream(4096), {.faults = faults}).check_all();
}

TEST(close_ends_a_pipeline_that_is_reading_waiting_for_slots_or_done) {
  for (const size_t taken : {0, 1, 12}) {
    Loader loader(one_stream(512));
    for (size_t i = 0; i < taken; ++i) loader.next();
    loader.pipeline->close();
    loader.pipeline->close();
    if (taken < 12) {
      const auto drain = [&] {
        while (loader.next()) continue;
      };
      CHECK_THROWS(drain(), InvalidArgument, "closed");
    }
  }
}

TEST(next_comes_back_when_nothing_is_ready_in_time) {
  auto faults = std::make_shared<Faults>();
  faults->on_answer = [](uint32_t, std::byte*, int64_t result) {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    return result;
  };
  Loader loader(one_stream(512), {.kind = ReaderKind::pread, .faults = faults});
  const auto first = loader.pipeline->next(1);
  CHECK(first.late);
  CHECK(first.minibatch == nullptr);
  loader.check(*loader.next(), 0);
}

TEST(minibatches_are_let_go_by_another_thread_while_the_next_ones_are_loaded) {
  TestPlanOptions options = one_stream(512);
  options.num_minibatches = 60;
  Loader loader(options, {}, 4);
  std::vector<std::jthread> threads;
  for (size_t i = 0; i < options.num_minibatches; ++i) {
    std::shared_ptr<LoadedMinibatch> minibatch;
    while (minibatch == nullptr) {
      try {
        minibatch = loader.next();
      } catch (const ResourceExhausted&) {
        std::this_thread::yield();
      }
    }
    threads.emplace_back([&loader, i, held = std::move(minibatch)] { loader.check(*held, i); });
  }
  threads.clear();
  CHECK(loader.next() == nullptr);
}

TEST(counters_tell_rows_of_each_tier_and_what_was_read) {
  Loader loader(one_stream(512));
  loader.check_all();
  uint64_t hits = 0, logged = 0, inserted = 0, master = 0;
  for (const auto& minibatch : loader.plan.minibatches) {
    const TestRecipe& recipe = minibatch[0];
    hits += recipe.hit_rows.size(), inserted += recipe.insert_rows.size(), master += recipe.master_rows.size();
    for (const RowExtent& extent : recipe.extents) logged += extent.bytes / 512;
  }
  const PipelineCounters counters = loader.pipeline->counters();
  CHECK_EQUAL(counters.ring.minibatches, loader.plan.options.num_minibatches);
  CHECK_EQUAL(counters.streams[0].hit_rows, hits);
  CHECK_EQUAL(counters.streams[0].log_rows, logged);
  CHECK_EQUAL(counters.streams[0].master_rows, master);
  CHECK_EQUAL(counters.streams[0].inserted_rows, inserted);
  CHECK(hits > 100);
  CHECK(master > 0);
  CHECK_EQUAL(counters.device_bytes, loader.plan.reader->statistics().bytes);
  CHECK_EQUAL(counters.device_reads, loader.plan.reader->statistics().reads);
}

TEST(a_minibatch_larger_than_announced_is_refused) {
  Loader loader(one_stream(512));
  loader.plan.max_rows[0] -= 1;
  loader.open(3);
  const auto drain = [&] {
    while (loader.next()) continue;
  };
  CHECK_THROWS(drain(), CorruptFile, "the largest was to have");
}

TEST(recipes_that_leave_their_arrays_are_refused) {
  for (int mistake = 0; mistake < 6; ++mistake) {
    Loader loader(one_stream(512));
    loader.pipeline.reset();
    TestRecipe& recipe = loader.plan.minibatches[6][0];
    if (mistake == 0) recipe.hit_slots[0] = 60;
    if (mistake == 1) recipe.hit_rows[0] = uint32_t(recipe.keys.size());
    if (mistake == 2) recipe.insert_slots[0] = 60;
    if (mistake == 3) recipe.hit_rows.pop_back();
    if (mistake == 4) recipe.extents[0].bytes += 512;
    if (mistake == 5) recipe.extents[0].offset = uint64_t{1} << 40;
    loader.open(3);
    const auto drain = [&] {
      while (loader.next()) continue;
    };
    CHECK_THROWS(drain(), InvalidArgument, "");
  }
}

}  // namespace
}  // namespace outcrop::testing
