#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "error.hpp"
#include "tests/check.hpp"
#include "tiers/look_ahead.hpp"
#include "tiers/next_use_cache.hpp"

namespace outcrop::testing {
namespace {

using Keys = std::vector<uint32_t>;
using Trace = std::vector<Keys>;

std::vector<Keys> next_uses_of(const Trace& trace, uint64_t num_keys) {
  NextUses future(num_keys, kNever);
  std::vector<Keys> found(trace.size());
  for (size_t r = trace.size(); r-- > 0;) {
    found[r].resize(trace[r].size());
    future.before(static_cast<uint32_t>(r), trace[r], found[r]);
  }
  return found;
}

// Requests of different sizes, of skewed keys, each once.
Trace random_trace(std::mt19937& random, uint32_t num_keys, size_t requests, size_t largest) {
  Trace trace(requests);
  for (Keys& keys : trace) {
    std::set<uint32_t> drawn;
    for (size_t n = random() % (largest + 1); n > 0; n--)
      drawn.insert(static_cast<uint32_t>(random() % num_keys * (random() % num_keys) / num_keys));
    keys.assign(drawn.begin(), drawn.end());
    std::shuffle(keys.begin(), keys.end(), random);
  }
  return trace;
}

// A cache that obeys the steps literally: which key lies in each slot.
class Slab {
 public:
  explicit Slab(size_t capacity) : keys_(capacity, kMiss) {}

  void follow(const Keys& keys, const CacheStep& step) {
    REQUIRE(step.hit_slots.size() == keys.size());
    for (size_t i = 0; i < keys.size(); i++) {
      const bool held = std::find(keys_.begin(), keys_.end(), keys[i]) != keys_.end();
      CHECK_EQUAL(step.hit_slots[i] != kMiss, held);
      if (step.hit_slots[i] != kMiss) CHECK_EQUAL(keys_.at(step.hit_slots[i]), keys[i]);
    }
    for (const CacheEviction& eviction : step.evictions) {
      CHECK_EQUAL(keys_.at(eviction.slot), eviction.key);
      CHECK_EQUAL(eviction.in_request, std::find(keys.begin(), keys.end(), eviction.key) != keys.end());
      keys_[eviction.slot] = kMiss;
    }
    for (const CacheInsert& insert : step.inserts) {
      CHECK(step.hit_slots.at(insert.index) == kMiss);
      CHECK_EQUAL(keys_.at(insert.slot), kMiss);
      keys_[insert.slot] = keys.at(insert.index);
    }
  }

  void hold(const Keys& pinned) { std::copy(pinned.begin(), pinned.end(), keys_.begin()); }

 private:
  Keys keys_;
};

// The fewest misses any policy can have, by its definition: after each request keep what is used soonest.
uint64_t belady_misses(const Trace& trace, size_t capacity) {
  auto next_use = [&](uint32_t key, size_t after) {
    for (size_t r = after + 1; r < trace.size(); r++)
      if (std::find(trace[r].begin(), trace[r].end(), key) != trace[r].end()) return r;
    return trace.size();
  };
  std::set<uint32_t> cached;
  uint64_t misses = 0;
  for (size_t r = 0; r < trace.size(); r++) {
    std::set<uint32_t> candidates = cached;
    for (const uint32_t key : trace[r]) misses += candidates.insert(key).second;
    std::vector<std::pair<size_t, uint32_t>> ranked;
    for (const uint32_t key : candidates)
      if (next_use(key, r) < trace.size()) ranked.push_back({next_use(key, r), key});
    std::sort(ranked.begin(), ranked.end());
    ranked.resize(std::min(ranked.size(), capacity));
    cached.clear();
    for (const auto& [use, key] : ranked) cached.insert(key);
  }
  return misses;
}

TEST(next_use_cache_keeps_what_is_used_soonest) {
  NextUseCache cache(10, 2);
  cache.step(0, Keys{1, 2, 3, 4}, Keys{9, 2, 1, kNever});
  const CacheStep& step = cache.step(1, Keys{3, 5}, Keys{3, 2});
  CHECK(step.hit_slots[0] != kMiss);
  CHECK(step.hit_slots[1] == kMiss);
  REQUIRE(step.evictions.size() == 1);
  CHECK_EQUAL(step.evictions[0].key, 3u);
  CHECK_EQUAL(step.evictions[0].next_use, 3u);
  CHECK(step.evictions[0].in_request);
  REQUIRE(step.inserts.size() == 1);
  CHECK_EQUAL(step.inserts[0].index, 1u);
  CHECK_EQUAL(step.inserts[0].slot, step.hit_slots[0]);
}

TEST(next_use_cache_names_what_it_passes_by_although_it_will_be_used) {
  NextUseCache cache(10, 1);
  const CacheStep& step = cache.step(0, Keys{1, 2, 3, 4}, Keys{5, kNever, 2, kUnknown});
  CHECK_EQUAL(step.inserts.size(), size_t{1});
  CHECK((step.bypassed == Keys{0}));
}

TEST(next_use_cache_misses_as_little_as_any_policy_can_and_its_slots_are_right) {
  const unsigned seed = std::random_device{}();
  std::mt19937 random(seed);
  for (int round = 0; round < 60; round++) {
    const auto num_keys = static_cast<uint32_t>(1 + random() % 60);
    const Trace trace = random_trace(random, num_keys, 1 + random() % 40, 1 + random() % 40);
    const size_t capacity = random() % (num_keys + 5);
    const std::vector<Keys> next_uses = next_uses_of(trace, num_keys);
    NextUseCache cache(num_keys, capacity);
    Slab slab(capacity);
    for (size_t r = 0; r < trace.size(); r++)
      slab.follow(trace[r], cache.step(static_cast<uint32_t>(r), trace[r], next_uses[r]));
    CHECK_EQUAL(cache.statistics().misses, belady_misses(trace, capacity));
    CHECK_EQUAL(cache.size(), size_t{0});
    if (cache.statistics().misses != belady_misses(trace, capacity))
      record_failure(__FILE__, __LINE__, "seed " + std::to_string(seed));
  }
}

TEST(next_use_cache_ranks_unknown_next_uses_behind_known_ones_and_by_score) {
  NextUseCache cache(10, 3);
  cache.set_scores(std::vector<uint16_t>{0, 10, 20, 30, 40, 50, 60, 70, 80, 90});
  cache.step(0, Keys{1, 2, 3, 4, 5}, Keys{kUnknown, 1000, kUnknown, kUnknown, kNever});
  Keys kept;
  for (const CachedKey& cached : cache.contents()) kept.push_back(cached.key);
  std::sort(kept.begin(), kept.end());
  CHECK((kept == Keys{2, 3, 4}));
  // Key 9 has the best score, and pushes out the worst one; known uses stay.
  const CacheStep& step = cache.step(1, Keys{9}, Keys{kUnknown});
  REQUIRE(step.evictions.size() == 1);
  CHECK_EQUAL(step.evictions[0].key, 3u);
  CHECK(!step.evictions[0].in_request);
}

TEST(next_use_cache_gives_a_promoted_key_its_place_among_known_ones) {
  NextUseCache cache(10, 2);
  cache.step(0, Keys{1, 2}, Keys{kUnknown, kUnknown});
  cache.promote(Keys{1, 7}, 3);
  const CacheStep& step = cache.step(1, Keys{3}, Keys{2});
  REQUIRE(step.evictions.size() == 1);
  CHECK_EQUAL(step.evictions[0].key, 2u);
  cache.step(2, Keys{3}, Keys{kNever});
  CHECK(cache.step(3, Keys{1}, Keys{kNever}).hit_slots[0] != kMiss);
}

TEST(next_use_cache_ranks_what_it_holds_anew_when_scores_change) {
  NextUseCache cache(4, 2);
  cache.set_scores(std::vector<uint16_t>{0, 1, 2, 3});
  cache.step(0, Keys{0, 1}, Keys{kUnknown, kUnknown});
  cache.set_scores(std::vector<uint16_t>{5, 1, 2, 3});
  const CacheStep& step = cache.step(1, Keys{2}, Keys{kUnknown});
  REQUIRE(step.evictions.size() == 1);
  CHECK_EQUAL(step.evictions[0].key, 1u);
}

TEST(next_use_cache_answers_a_key_that_stands_twice_alike) {
  NextUseCache cache(5, 2);
  const CacheStep& missed = cache.step(0, Keys{1, 2, 1}, Keys{1, 2, 1});
  CHECK(missed.hit_slots[0] == kMiss && missed.hit_slots[2] == kMiss);
  CHECK_EQUAL(missed.inserts.size(), size_t{2});
  const CacheStep& hit = cache.step(1, Keys{1, 1}, Keys{kNever, kNever});
  CHECK(hit.hit_slots[0] != kMiss);
  CHECK_EQUAL(hit.hit_slots[0], hit.hit_slots[1]);
  CHECK_EQUAL(hit.evictions.size(), size_t{1});
}

TEST(next_use_cache_carries_its_contents_over) {
  NextUseCache first(6, 3), second(6, 3);
  first.step(0, Keys{1, 2, 3}, Keys{4, kUnknown, 5});
  second.load(first.contents());
  CHECK_EQUAL(second.size(), first.size());
  CHECK_EQUAL(second.step(4, Keys{1}, Keys{kNever}).hit_slots[0], first.step(4, Keys{1}, Keys{kNever}).hit_slots[0]);
  CHECK_THROWS(second.load(first.contents()), InvalidArgument, "expected an empty cache, found 2");
  NextUseCache third(6, 3);
  CHECK_THROWS(third.load(std::vector<CachedKey>{{1, 0, 4}, {2, 0, 4}}), InvalidArgument, "given twice");
  CHECK_THROWS(NextUseCache(6, 3).load(std::vector<CachedKey>{{1, 3, 4}}), InvalidArgument, "does not fit");
}

TEST(next_use_cache_keeps_what_is_pinned_and_serves_the_rest_from_what_is_left) {
  const unsigned seed = std::random_device{}();
  std::mt19937 random(seed);
  for (int round = 0; round < 20; round++) {
    const uint32_t num_keys = 60;
    const Trace trace = random_trace(random, num_keys, 30, 40);
    const std::vector<Keys> next_uses = next_uses_of(trace, num_keys);
    const size_t capacity = 5 + random() % 30, num_pinned = random() % (capacity + 1);
    Keys pinned(num_pinned);
    for (uint32_t i = 0; i < num_pinned; i++) pinned[i] = num_keys - 1 - i * 2 % num_keys;
    pinned.resize(std::min<size_t>(num_pinned, num_keys / 2));
    NextUseCache cache(num_keys, capacity);
    cache.pin(pinned);
    cache.set_scores(std::vector<uint16_t>(num_keys, 1));
    Slab slab(capacity);
    slab.hold(pinned);
    Trace rest = trace;
    for (Keys& keys : rest)
      std::erase_if(keys, [&](uint32_t key) { return std::find(pinned.begin(), pinned.end(), key) != pinned.end(); });
    for (size_t r = 0; r < trace.size(); r++) {
      cache.promote(pinned, static_cast<uint32_t>(r + 100));
      slab.follow(trace[r], cache.step(static_cast<uint32_t>(r), trace[r], next_uses[r]));
    }
    CHECK_EQUAL(cache.statistics().misses, belady_misses(rest, capacity - pinned.size()));
    CHECK_EQUAL(cache.size(), pinned.size());
    CHECK(cache.contents().empty());
  }
  CHECK_THROWS(NextUseCache(5, 2).pin(Keys{1, 2, 3}), InvalidArgument, "at most 2 keys, found 0 requests, 0 keys");
  CHECK_THROWS(NextUseCache(5, 2).pin(Keys{1, 1}), InvalidArgument, "keys[1]: expected each key once");
  CHECK_THROWS(NextUseCache(5, 2).pin(Keys{5}), InvalidArgument, "less than 5, found 5");
}

TEST(next_use_cache_refuses_what_contradicts_the_future_it_was_told) {
  NextUseCache early(5, 2);
  early.step(0, Keys{1}, Keys{3});
  CHECK_THROWS(early.step(1, Keys{1}, Keys{kNever}), InvalidArgument, "asks for key 1, whose next use was to be 3");
  NextUseCache absent(5, 2);
  absent.step(0, Keys{1}, Keys{1});
  CHECK_THROWS(absent.step(1, Keys{2}, Keys{kNever}), InvalidArgument, "does not ask for 1 keys of 1");
  NextUseCache skipped(5, 2);
  skipped.step(0, Keys{1, 2}, Keys{200, 70'000});
  CHECK_THROWS(skipped.step(300, Keys{2}, Keys{kNever}), InvalidArgument, "used by request 200, which did not come");
  CHECK(skipped.step(200, Keys{1}, Keys{kNever}).hit_slots[0] != kMiss);
  CHECK(skipped.step(70'000, Keys{2}, Keys{kNever}).hit_slots[0] != kMiss);
  NextUseCache cache(5, 2);
  CHECK_THROWS(cache.step(0, Keys{5}, Keys{kNever}), InvalidArgument, "expected less than 5, found 5");
  CHECK_THROWS(cache.step(2, Keys{1}, Keys{2}), InvalidArgument, "next_use[0] of key 1");
  CHECK_THROWS(cache.step(0, Keys{1}, Keys{}), InvalidArgument, "1 keys, but 0 next uses");
  cache.step(7, Keys{1}, Keys{kNever});
  CHECK_THROWS(cache.step(7, Keys{1}, Keys{kNever}), InvalidArgument, "expected 8 or more");
  CHECK_THROWS(cache.promote(Keys{1}, 7), InvalidArgument, "promote: expected a request in [8");
  CHECK_THROWS(NextUseCache(uint64_t{1} << 32, 1), InvalidArgument, "fewer than 4294967294");
}

TEST(next_use_cache_lives_through_many_requests_and_far_next_uses) {
  const uint32_t num_keys = 50;
  NextUseCache cache(num_keys, 20);
  Slab slab(20);
  std::mt19937 random(7);
  // Key k is asked for by each request that its period divides.
  std::vector<uint32_t> period(num_keys);
  for (uint32_t& p : period) p = static_cast<uint32_t>(1 + random() % 5000);
  for (uint32_t r = 1; r < 30'000; r++) {
    Keys keys, next_use;
    for (uint32_t key = 0; key < num_keys; key++)
      if (r % period[key] == 0) {
        keys.push_back(key);
        next_use.push_back(r + period[key]);
      }
    slab.follow(keys, cache.step(r, keys, next_use));
  }
  CHECK(cache.statistics().hits > 0);
}

TEST(look_ahead_and_cache_never_contradict_each_other) {
  const unsigned seed = std::random_device{}();
  std::mt19937 random(seed);
  for (size_t window : {1u, 2u, 5u, 60u}) {
    const Trace trace = random_trace(random, 80, 60, 40);
    const size_t capacity = 1 + random() % 80;
    NextUseCache cache(80, capacity);
    LookAhead future(80);
    Slab slab(capacity);
    size_t announced = 0;
    for (uint32_t r = 0; r < trace.size(); r++) {
      for (; announced < std::min(trace.size(), r + window); announced++) {
        const Keys known = future.announce(trace[announced]);
        cache.promote(known, static_cast<uint32_t>(announced));
      }
      const Keys next_use = future.take();
      slab.follow(trace[r], cache.step(r, trace[r], next_use));
    }
    // The window of 60 sees all of it.
    if (window == 60) CHECK_EQUAL(cache.statistics().misses, belady_misses(trace, capacity));
    if (cache.statistics().misses < belady_misses(trace, capacity))
      record_failure(__FILE__, __LINE__, "fewer misses than possible; seed " + std::to_string(seed));
  }
}

}  // namespace
}  // namespace outcrop::testing
