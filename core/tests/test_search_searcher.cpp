#include <cmath>
#include <thread>

#include "error.hpp"
#include "tests/check.hpp"
#include "tests/small_index.hpp"

namespace outcrop::testing {
namespace {

TEST(searcher_that_probes_every_list_equals_brute_force) {
  for (bool coded : {false, true}) {
    SmallIndex index(coded);
    Searcher searcher(index.view(), 2, 1 << 20, 0);
    const Found expected = index.brute_force(10);
    CHECK(index.search(searcher, options_of(10, coded ? 100 : 0)) == expected);
    SearchOptions waves = options_of(10, coded ? 100 : 0, 2);
    waves.first_wave = 3, waves.next_wave = 2, waves.group_size = 5;
    const Found found = index.search(searcher, waves);
    CHECK(found == expected);
    CHECK(found.usage.skipped > 0);
    CHECK(found.usage.waves > 0);
  }
}

TEST(searcher_gives_the_same_for_any_groups_threads_buffers_and_caches) {
  SmallIndex index(true);
  Searcher roomy(index.view(), 2, 8 << 20, 0);
  SearchOptions plain = options_of(10, 20);
  const Found expected = index.search(roomy, plain, 6);
  for (size_t cache_bytes : {size_t{0}, size_t{20'000}, size_t{8 << 20}})
    for (uint32_t group_size : {1u, 7u, 64u})
      for (uint32_t threads : {1u, 3u}) {
        Searcher searcher(index.view(), threads, threads * Searcher::least_context_bytes(index.view()) * 2,
                          cache_bytes);
        SearchOptions options = plain;
        options.group_size = group_size, options.num_threads = threads;
        for (int repeat = 0; repeat < 2; repeat++) CHECK(index.search(searcher, options, 6) == expected);
        CHECK(searcher.cache_statistics().bytes <= cache_bytes);
      }
}

TEST(searcher_finds_fewer_than_k_and_says_so) {
  SmallIndex index(false);
  Searcher searcher(index.view(), 1, 1 << 20, 0);
  const Found found = index.search(searcher, options_of(100, 0), 1);
  for (size_t q = 0; q < index.num_queries(); q++) {
    CHECK(found.ids[q * 100 + kRowsPerCentroid - 1] >= 0);
    CHECK_EQUAL(found.ids[q * 100 + 60], int64_t{-1});
    CHECK(std::isinf(found.distances[q * 100 + 99]));
  }
}

// More callers than contexts, a cache that is always full, and statistics read meanwhile.
TEST(searcher_serves_several_callers_at_once) {
  for (bool coded : {false, true}) {
    SmallIndex index(coded);
    Searcher searcher(index.view(), 3, 3 << 19, 40'000);
    const uint32_t rerank = coded ? 40 : 0;
    const Found expected = index.search(searcher, options_of(10, rerank), 8);
    std::vector<std::jthread> callers;
    for (uint32_t caller = 0; caller < 4; caller++)
      callers.emplace_back([&, caller] {
        for (uint32_t round = 0; round < 4; round++) {
          SearchOptions options = options_of(10, rerank, 1 + (caller + round) % 3);
          options.group_size = 1 + caller * 3;
          CHECK(index.search(searcher, options, 8) == expected);
          if (caller == 3) searcher.clear_cache();
          CHECK(searcher.cache_statistics().bytes <= 40'000);
        }
      });
  }
}

TEST(searcher_stays_usable_after_a_damaged_list) {
  SmallIndex index(false);
  Searcher searcher(index.view(), 2, 1 << 20, 0);
  const Found expected = index.search(searcher, options_of(10, 0, 2));
  Bytes file = read_file(index.postings_path());
  const Bytes good = file;
  file[4096 * 5 + 100] ^= std::byte{4};
  write_file(index.postings_path(), file);
  for (int repeat = 0; repeat < 3; repeat++)
    CHECK_THROWS(index.search(searcher, options_of(10, 0, 2)), CorruptFile, "postings.blk: block 5 at offset 20480");
  write_file(index.postings_path(), Bytes(good.begin(), good.begin() + 4096 * 7));
  CHECK_THROWS(index.search(searcher, options_of(10, 0, 2)), CorruptFile, "postings.blk");
  write_file(index.postings_path(), good);
  CHECK(index.search(searcher, options_of(10, 0, 2)) == expected);
}

TEST(searcher_refuses_entries_that_name_rows_that_are_not_there) {
  for (uint64_t row : {uint64_t{kRows}, uint64_t{0xffffffff}}) {
    SmallIndex index(true);
    index.last_row = row;
    index.write_lists();
    Searcher searcher(index.view(), 1, 1 << 20, 0);
    CHECK_THROWS(index.search(searcher, options_of(2000, 2000)), CorruptFile, "names row " + std::to_string(row));
  }
}

TEST(searcher_refuses_a_directory_that_contradicts_itself) {
  SmallIndex index(true);
  const auto refused = [&](auto change, const char* text) {
    IndexView view = index.view();
    change(view);
    CHECK_THROWS(Searcher(std::move(view), 1, 1 << 20, 0), CorruptFile, text);
  };
  refused([](IndexView& v) { std::swap(v.list_offsets[2], v.list_offsets[3]); }, "go backwards");
  refused([](IndexView& v) { v.list_offsets.back() += 64; }, "do not fill");
  refused([](IndexView& v) { v.list_offsets.front() = 64; }, "do not fill");
  refused([](IndexView& v) { v.list_offsets.resize(1); }, "no lists");
  refused([](IndexView& v) { v.first_list.back()++; }, "do not own all lists");
  refused([](IndexView& v) { std::swap(v.first_list[4], v.first_list[5]); }, "go backwards");
  refused([](IndexView& v) { v.radius.pop_back(); }, "radii");
}

TEST(searcher_refuses_options_and_probes_out_of_range) {
  SmallIndex index(true);
  Searcher searcher(index.view(), 1, 1 << 20, 0);
  CHECK_THROWS(index.search(searcher, options_of(0, 0)), InvalidArgument, "k:");
  CHECK_THROWS(index.search(searcher, options_of(16385, 0)), InvalidArgument, "k:");
  CHECK_THROWS(index.search(searcher, options_of(10, 9)), InvalidArgument, "rerank");
  CHECK_THROWS(index.search(searcher, options_of(10, 16385)), InvalidArgument, "rerank");
  CHECK_THROWS(Searcher(index.view(), 0, 1 << 20, 0), InvalidArgument, "num_contexts");
  CHECK_THROWS(Searcher(index.view(), 4, 8192, 0), ResourceExhausted, "raise the memory budget");

  std::vector<float> query(kDim), latency(1), distances(1);
  std::vector<int64_t> ids(1);
  const int32_t probe = kCentroids;
  const float distance = 0;
  for (int32_t count : {1, 2, -1}) {
    const SearchBatch batch{1, 1, query.data(), nullptr, &probe, &distance, &count};
    CHECK_THROWS(searcher.search(batch, options_of(1, 0), {ids.data(), distances.data(), latency.data()}),
                 InvalidArgument, count == 1 ? "no centroid 40" : "out of range");
  }
}

}  // namespace
}  // namespace outcrop::testing
