// Searches that are told to stop.
#include <atomic>
#include <chrono>
#include <thread>

#include "error.hpp"
#include "tests/check.hpp"
#include "tests/io_faults.hpp"
#include "tests/small_index.hpp"
#include "tests/stop_words.hpp"

namespace outcrop::testing {
namespace {

TEST(searcher_that_is_told_to_stop_reads_no_more_and_is_as_good_as_before) {
  for (bool coded : {false, true}) {
    const auto faults = std::make_shared<Faults>();
    SmallIndex index(coded, faults);
    Searcher searcher(index.view(), 2, 1 << 20, 0);
    SearchOptions options = options_of(10, coded ? 100 : 0, 2);
    options.first_wave = options.next_wave = 2;
    uint64_t before = index.reads().reads;
    const Found expected = index.search(searcher, options);
    const uint64_t whole = index.reads().reads - before;
    before = index.reads().reads;
    StopWords words;
    faults->on_answer = [&, n = 0](uint32_t, std::byte*, int64_t result) mutable {
      if (++n == 20) words.set();
      return result;
    };
    CHECK_THROWS(index.search(searcher, options, kCentroids, Stop(words.words)), Cancelled, "was cancelled");
    CHECK(index.reads().reads - before >= 20);
    CHECK(index.reads().reads - before < whole / 4);  // what was in flight has come
    faults->on_answer = nullptr;
    CHECK(index.search(searcher, options) == expected);
  }
}

TEST(searcher_past_its_deadline_reads_nothing) {
  SmallIndex index(true);
  Searcher searcher(index.view(), 1, 1 << 20, 0);
  StopWords words;
  words.end_after(std::chrono::nanoseconds(0));
  const uint64_t before = index.reads().reads;
  CHECK_THROWS(index.search(searcher, options_of(10, 0), 1, Stop(words.words)), DeadlineExceeded, "allow more");
  CHECK_EQUAL(index.reads().reads, before);
  words.end_after(std::chrono::hours(1));
  CHECK(index.search(searcher, options_of(10, 100), kCentroids, Stop(words.words)) == index.brute_force(10));
}

TEST(searcher_past_its_deadline_leaves_a_slow_device) {
  const auto faults = std::make_shared<Faults>();
  SmallIndex index(true, faults);
  Searcher searcher(index.view(), 1, 1 << 20, 0);
  faults->on_answer = [](uint32_t, std::byte*, int64_t result) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    return result;
  };
  StopWords words;
  words.end_after(std::chrono::milliseconds(20));
  CHECK_THROWS(index.search(searcher, options_of(10, 100), kCentroids, Stop(words.words)), DeadlineExceeded, "");
  faults->on_answer = nullptr;
  CHECK(index.search(searcher, options_of(10, 100)) == index.brute_force(10));
}

// All lists are cached, so that no read would ask.
TEST(searcher_that_is_told_to_stop_leaves_cached_lists) {
  SmallIndex index(false);
  Searcher searcher(index.view(), 1, 1 << 20, 8 << 20);
  for (int repeat = 0; repeat < 4; repeat++) index.search(searcher, options_of(10, 0));
  const uint64_t before = index.reads().reads;
  StopWords words;
  std::jthread setter;
  CHECK_THROWS(
      [&] {
        setter = std::jthread([&] { words.set(); });
        while (true) index.search(searcher, options_of(10, 0), kCentroids, Stop(words.words));
      }(),
      Cancelled, "");
  CHECK_EQUAL(index.reads().reads, before);
}

TEST(searcher_waiting_for_a_context_can_be_told_to_stop) {
  const auto faults = std::make_shared<Faults>();
  SmallIndex index(true, faults);
  Searcher searcher(index.view(), 1, 1 << 20, 0);
  std::atomic<bool> reading{false}, go_on{false};
  faults->on_answer = [&](uint32_t, std::byte*, int64_t result) {
    reading = true;
    while (!go_on) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return result;
  };
  std::jthread holder([&] { index.search(searcher, options_of(10, 100)); });
  while (!reading) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  StopWords words;
  words.end_after(std::chrono::milliseconds(10));
  CHECK_THROWS(index.search(searcher, options_of(10, 100), kCentroids, Stop(words.words)), DeadlineExceeded, "");
  go_on = true;
}

TEST(exact_scan_that_is_told_to_stop_throws) {
  StopWords words;
  const std::vector<float> rows(4 * kDim, 1.0f);
  const std::vector<int64_t> ids{0, 1, 2, 3};
  ExactScan scan(Dtype::float32, Metric::l2, rows.data(), nullptr, 2, kDim, 2);
  const auto* bytes = reinterpret_cast<const std::byte*>(rows.data());
  scan.push(bytes, ids.data(), 4, 2, Stop(words.words));
  words.set();
  CHECK_THROWS(scan.push(bytes, ids.data(), 4, 2, Stop(words.words)), Cancelled, "");
}

}  // namespace
}  // namespace outcrop::testing
