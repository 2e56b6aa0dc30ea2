#include <map>
#include <random>
#include <thread>

#include "cache/list_cache.hpp"
#include "tests/check.hpp"

namespace outcrop::testing {
namespace {

using CacheBytes = std::vector<std::byte>;

// Bytes that tell their key.
CacheBytes bytes_of(uint32_t key, size_t size) { return CacheBytes(size, static_cast<std::byte>(key * 37 + 11)); }

void ask(ListCache& cache, uint32_t key, int times) {
  for (int i = 0; i < times; i++) cache.find(key);
}

TEST(list_cache_returns_what_was_offered_and_counts_hits_and_misses) {
  ListCache cache(10, 100'000);
  CHECK(cache.find(3) == nullptr);
  cache.offer(3, bytes_of(3, 500));
  const ListCache::Bytes found = cache.find(3);
  REQUIRE(found != nullptr);
  CHECK(*found == bytes_of(3, 500));
  const CacheStatistics statistics = cache.statistics();
  CHECK_EQUAL(statistics.hits, uint64_t{1});
  CHECK_EQUAL(statistics.misses, uint64_t{1});
  CHECK_EQUAL(statistics.entries, uint64_t{1});
  CHECK(statistics.bytes >= 500);
}

TEST(list_cache_result_stays_valid_after_clear) {
  ListCache cache(4, 10'000);
  cache.offer(1, bytes_of(1, 100));
  const ListCache::Bytes held = cache.find(1);
  cache.clear();
  CHECK(cache.find(1) == nullptr);
  REQUIRE(held != nullptr);
  CHECK(*held == bytes_of(1, 100));
}

TEST(list_cache_that_cannot_hold_its_counters_is_off) {
  ListCache cache(1000, 1000);
  cache.offer(1, bytes_of(1, 10));
  CHECK(cache.find(1) == nullptr);
  CHECK_EQUAL(cache.statistics().entries, uint64_t{0});
  cache.clear();
  CHECK_EQUAL(cache.statistics().bytes, uint64_t{0});
}

TEST(list_cache_is_not_flushed_by_one_scan_over_cold_lists) {
  ListCache cache(1000, 1000 * 5 + 10 * 1100);
  for (uint32_t hot = 0; hot < 10; hot++) {
    ask(cache, hot, 5);
    cache.offer(hot, bytes_of(hot, 1000));
  }
  for (uint32_t cold = 100; cold < 1000; cold++) {
    cache.find(cold);
    cache.offer(cold, bytes_of(cold, 1000));
  }
  for (uint32_t hot = 0; hot < 10; hot++) CHECK(cache.find(hot) != nullptr);
}

TEST(list_cache_lets_in_what_is_asked_for_more_often) {
  ListCache cache(100, 100 * 5 + 2 * 1100);
  for (uint32_t key : {0u, 1u}) {
    cache.find(key);
    cache.offer(key, bytes_of(key, 1000));
  }
  ask(cache, 7, 3);
  cache.offer(7, bytes_of(7, 1000));
  CHECK(cache.find(7) != nullptr);
  CHECK_EQUAL(cache.statistics().evicted, uint64_t{1});
}

TEST(list_cache_evicts_nothing_for_what_can_never_fit) {
  ListCache cache(100, 100 * 5 + 2 * 1100);
  for (uint32_t key : {0u, 1u}) {
    cache.find(key);
    cache.offer(key, bytes_of(key, 1000));
  }
  ask(cache, 7, 50);
  cache.offer(7, bytes_of(7, 5000));
  CHECK_EQUAL(cache.statistics().entries, uint64_t{2});
  CHECK_EQUAL(cache.statistics().refused, uint64_t{1});
}

// Against a plain map: what the cache returns is what was last offered under that key, and the budget holds at every
// step.
TEST(list_cache_holds_its_budget_and_never_mixes_keys_under_random_operations) {
  const unsigned seed = std::random_device{}();
  std::mt19937 random(seed);
  const size_t num_keys = 50, capacity = num_keys * 5 + 4000;
  ListCache cache(num_keys, capacity);
  std::map<uint32_t, CacheBytes> offered;
  uint64_t found = 0;
  for (int step = 0; step < 20'000; step++) {
    const uint32_t key = static_cast<uint32_t>(random() % num_keys * (random() % num_keys) / num_keys);
    if (const ListCache::Bytes bytes = cache.find(key)) {
      found++;
      CHECK(*bytes == offered[key]);
    } else {
      offered[key] = bytes_of(key, random() % 1500);
      cache.offer(key, offered[key]);
    }
    if (random() % 3000 == 0) cache.clear();
    const CacheStatistics statistics = cache.statistics();
    CHECK(statistics.bytes <= capacity);
    CHECK_EQUAL(statistics.capacity_bytes, capacity);
  }
  if (found == 0) record_failure(__FILE__, __LINE__, "nothing was ever found; seed " + std::to_string(seed));
}

TEST(list_cache_serves_several_threads) {
  const size_t num_keys = 40;
  ListCache cache(num_keys, num_keys * 5 + 6000);
  auto work = [&](unsigned seed) {
    std::mt19937 random(seed);
    for (int step = 0; step < 3000; step++) {
      const uint32_t key = static_cast<uint32_t>(random() % num_keys);
      const size_t size = 100 + key * 10;
      if (const ListCache::Bytes bytes = cache.find(key))
        CHECK(*bytes == bytes_of(key, size));
      else
        cache.offer(key, bytes_of(key, size));
      if (step % 500 == 499) cache.clear();
      if (step % 100 == 0) CHECK(cache.statistics().bytes <= num_keys * 5 + 6000);
    }
  };
  std::vector<std::jthread> threads;
  for (unsigned seed = 1; seed <= 4; seed++) threads.emplace_back(work, seed);
}

}  // namespace
}  // namespace outcrop::testing
