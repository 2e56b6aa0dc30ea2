// Where in a request does a key stand? A small hash table, made anew for each request.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

namespace outcrop {

class KeyTable {
 public:
  static constexpr uint32_t kAbsent = UINT32_MAX;

  // Empties the table and makes room for `num_keys` keys at half load.
  void reset(uint64_t num_keys) {
    const uint64_t size = std::bit_ceil(std::max<uint64_t>(16, 2 * num_keys));
    shift_ = 64 - std::countr_zero(size);
    entries_.assign(size, Entry{kAbsent, kAbsent});
  }

  // The place that `key` has already, or kAbsent after giving it `place`. key < 2^32 - 1.
  uint32_t insert(uint32_t key, uint32_t place) {
    Entry& entry = entries_[find_entry(key)];
    if (entry.key == key) return entry.place;
    entry = {key, place};
    return kAbsent;
  }

  uint32_t find(uint32_t key) const {
    const Entry& entry = entries_[find_entry(key)];
    return entry.key == key ? entry.place : kAbsent;
  }

  uint64_t memory_bytes() const { return entries_.capacity() * sizeof(Entry); }

 private:
  struct Entry {
    uint32_t key, place;
  };

  uint64_t find_entry(uint32_t key) const {
    uint64_t at = (key * 0x9E3779B97F4A7C15u) >> shift_;  // Fibonacci hashing: neighbours are spread
    while (entries_[at].key != key && entries_[at].key != kAbsent) at = (at + 1) & (entries_.size() - 1);
    return at;
  }

  std::vector<Entry> entries_;
  int shift_ = 60;
};

}  // namespace outcrop
