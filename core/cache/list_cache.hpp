// Bytes of hot blocks or lists under a budget, by measured frequency.
//
// Every look-up is counted, hit or miss, in a small saturating counter per key that is halved from time to time
// (TinyLFU: Einziger, Friedman, Manes 2017), so that a newcomer enters only when it was asked for more often than what
// it would replace: one scan over cold lists cannot flush the hot ones. Keys are small dense numbers, the counter table
// an array.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <random>
#include <span>
#include <vector>

namespace outcrop {

struct CacheStatistics {
  uint64_t hits = 0, misses = 0, admitted = 0, refused = 0, evicted = 0;
  uint64_t bytes = 0, entries = 0, capacity_bytes = 0;
};

class ListCache {
 public:
  using Bytes = std::shared_ptr<const std::vector<std::byte>>;

  // capacity_bytes includes the counter table; a capacity that does not even hold that one switches the cache off.
  ListCache(size_t num_keys, size_t capacity_bytes);

  // The bytes of `key`, or null. Counts the access. The result stays valid after an eviction.
  Bytes find(uint32_t key);
  // Keeps a copy when there is room, or when `key` was asked for more often than those it would replace. Never waits.
  void offer(uint32_t key, std::span<const std::byte> bytes);
  void clear();
  CacheStatistics statistics() const;

 private:
  struct Entry {
    uint32_t key;
    Bytes bytes;
  };

  bool off() const { return frequency_.empty(); }
  void count(uint32_t key);
  bool make_room(uint32_t key, size_t needed);
  void evict(size_t slot);

  mutable std::mutex mutex_;
  const size_t capacity_bytes_;
  std::vector<uint8_t> frequency_;  // per key
  std::vector<int32_t> slot_of_;    // per key; -1: absent
  std::vector<Entry> entries_;
  size_t accesses_since_aging_ = 0;
  std::minstd_rand random_{20240607};
  CacheStatistics stats_;
};

}  // namespace outcrop
