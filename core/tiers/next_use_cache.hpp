// Which rows stay in a cache when requests for them are known ahead.
//
// Keys come in requests: all keys of a request are used at the same time, and afterwards the cache keeps, of what it
// held and what just passed, the keys that will be used soonest. With all next uses known this is MIN with bypass
// (Belady 1966; Ginex, VLDB 2022, moves it to the grain of a minibatch), and no policy misses less. Where the future is
// known for a window only, keys used inside of it come first, nearest first, and the rest is ranked by a static score
// (the hybrid eviction of LSM-GNN, arXiv 2407.15264).
//
// A step costs O(keys), whatever the capacity. Memory: 4 bytes per key (6 with scores) and about 24 per slot.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tiers/slot_buckets.hpp"

namespace outcrop {

// Next uses that are no request number.
constexpr uint32_t kNever = UINT32_MAX;        // not used again: dropped at once
constexpr uint32_t kUnknown = UINT32_MAX - 1;  // beyond what is known
// The slot of a key that is not in the cache.
constexpr uint32_t kMiss = UINT32_MAX;

struct CacheInsert {
  uint32_t index;  // into the keys of the request
  uint32_t slot;
};

struct CacheEviction {
  uint32_t key, slot;
  uint32_t next_use;  // kNever: nobody needs it any more
  bool in_request;    // it was hit by this very request
};

// What one request does to the cache. A slot given to an insert may be one that this request hits, so hits are gathered
// first, and then rows inserted.
struct CacheStep {
  std::vector<uint32_t> hit_slots;       // per key of the request; kMiss where absent
  std::vector<CacheInsert> inserts;      // by ascending index, and by ascending slot
  std::vector<CacheEviction> evictions;  // in no order
  std::vector<uint32_t> bypassed;        // indices of keys missed, not inserted, whose next use is known; ascending
};

struct CachedKey {
  uint32_t key, slot;
  uint32_t next_use;  // a request number or kUnknown
};

struct NextUseStatistics {
  uint64_t requests = 0, hits = 0, misses = 0, inserts = 0, evictions = 0;
};

// For one thread at a time.
class NextUseCache {
 public:
  // capacity: in rows; 0, and less than a request, are fine. num_keys, capacity: at most 2^32 - 2.
  NextUseCache(uint64_t num_keys, uint64_t capacity);

  uint64_t num_keys() const { return slot_of_.size(); }
  uint64_t capacity() const { return slots_.size(); }
  uint64_t size() const { return slots_.size() - free_.size(); }
  const CacheStep& last_step() const { return step_; }
  bool contains(uint32_t key) const { return slot_of_[key] != kMiss; }  // key < num_keys()
  const NextUseStatistics& statistics() const { return statistics_; }

  // Ranks keys of unknown next use: the higher score is kept. scores: one per key. What is cached is ranked anew.
  void set_scores(std::span<const uint16_t> scores);

  // Puts these keys into slots 0, 1, ... of a new cache, where they stay whatever comes. Each once, at most `capacity`.
  // A trace that is gone through again and again begins each time with nothing else in the cache; what is wanted by
  // most requests is worth more when it is there from the beginning.
  void pin(std::span<const uint32_t> keys);

  // The next request. request: above the last one. keys: in any order; one that stands twice is hit or missed twice,
  // and its first next use counts. next_use: per key the request that uses it next, or kNever, or kUnknown. The result
  // is good until the next call. Throws InvalidArgument for a key, a request or a next use out of range; and when the
  // keys disagree with next uses given before, one coming earlier than said or not at all: then the cache is of no
  // further use.
  const CacheStep& step(uint32_t request, std::span<const uint32_t> keys, std::span<const uint32_t> next_use);

  // The next use of these keys has become known. Keys that are not cached, or whose next use is known, are passed over.
  // request: above the last one stepped.
  void promote(std::span<const uint32_t> keys, uint32_t request);

  // What is cached and not pinned, by ascending slot; and the way back, into an empty cache. Next uses are above the
  // last request.
  std::vector<CachedKey> contents() const;
  void load(std::span<const CachedKey> contents);

 private:
  struct Slot {
    uint32_t key;       // kMiss: free
    uint32_t next_use;  // kNever: the key is pinned
    uint32_t position;  // in its bucket
    uint32_t last_use;  // the request that used it last, kNever before
  };
  // Missed keys that rank below `rank` enter the cache, and of those that rank equal the first `room`.
  struct Cut {
    uint64_t rank;
    uint64_t room;
    uint64_t refused;  // how many do not enter
  };

  uint64_t rank(uint32_t key, uint32_t next_use) const;
  SlotBuckets::Bucket& bucket_at(uint64_t rank);
  SlotBuckets::Bucket& use_bucket(uint64_t rank);
  void check(uint32_t request, std::span<const uint32_t> keys, std::span<const uint32_t> next_use) const;
  void look_up(std::span<const uint32_t> keys);
  void keep_hits(uint32_t request, std::span<const uint32_t> keys, std::span<const uint32_t> next_use);
  uint64_t count_incoming(std::span<const uint32_t> keys, std::span<const uint32_t> next_use);
  Cut make_room(uint64_t excess, uint32_t request);
  void sort_free_slots(size_t count);
  void insert_misses(Cut cut, uint32_t request, std::span<const uint32_t> keys, std::span<const uint32_t> next_use);
  void place(uint32_t slot);
  void take_out(uint32_t slot);
  void evict(uint32_t slot, uint32_t request);

  std::vector<uint32_t> slot_of_;  // per key; kMiss: absent
  std::vector<uint16_t> scores_;   // per key; empty: all equal
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;   // slots, taken from the back
  SlotBuckets known_, unknown_;  // by next use; by falling score
  uint64_t next_request_ = 0;    // the lowest number the next request may have
  CacheStep step_;
  NextUseStatistics statistics_;
};

}  // namespace outcrop
