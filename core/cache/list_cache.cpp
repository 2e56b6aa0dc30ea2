#include "cache/list_cache.hpp"

#include <algorithm>

namespace outcrop {

namespace {
// The victim is the least frequent of this many random entries (sampled LFU).
constexpr size_t kSample = 8;
// What an entry costs beside its bytes: vector, control block, slot.
constexpr size_t kEntryOverhead = 80;
// Counters are halved after this many accesses per key, so that old fame fades.
constexpr size_t kAgingFactor = 10;
// The counter and the slot number.
constexpr size_t kKeyOverhead = 5;
}  // namespace

ListCache::ListCache(size_t num_keys, size_t capacity_bytes) : capacity_bytes_(capacity_bytes) {
  stats_.capacity_bytes = capacity_bytes;
  if (capacity_bytes <= num_keys * kKeyOverhead) return;
  frequency_.assign(num_keys, 0);
  slot_of_.assign(num_keys, -1);
  stats_.bytes = num_keys * kKeyOverhead;
}

void ListCache::count(uint32_t key) {
  if (frequency_[key] < 255) frequency_[key]++;
  if (++accesses_since_aging_ < kAgingFactor * frequency_.size()) return;
  accesses_since_aging_ = 0;
  for (uint8_t& f : frequency_) f /= 2;
}

ListCache::Bytes ListCache::find(uint32_t key) {
  if (off()) return nullptr;
  std::lock_guard lock(mutex_);
  count(key);
  int32_t slot = slot_of_[key];
  if (slot < 0) {
    stats_.misses++;
    return nullptr;
  }
  stats_.hits++;
  return entries_[slot].bytes;
}

void ListCache::evict(size_t slot) {
  stats_.bytes -= entries_[slot].bytes->size() + kEntryOverhead;
  stats_.evicted++;
  slot_of_[entries_[slot].key] = -1;
  if (slot + 1 != entries_.size()) {
    entries_[slot] = std::move(entries_.back());
    slot_of_[entries_[slot].key] = static_cast<int32_t>(slot);
  }
  entries_.pop_back();
}

bool ListCache::make_room(uint32_t key, size_t needed) {
  while (stats_.bytes + needed > capacity_bytes_) {
    if (entries_.empty()) return false;
    size_t victim = random_() % entries_.size();
    for (size_t i = 1; i < kSample; i++) {
      size_t other = random_() % entries_.size();
      if (frequency_[entries_[other].key] < frequency_[entries_[victim].key]) victim = other;
    }
    if (frequency_[entries_[victim].key] >= frequency_[key]) return false;
    evict(victim);
  }
  return true;
}

void ListCache::offer(uint32_t key, std::span<const std::byte> bytes) {
  if (off()) return;
  size_t needed = bytes.size() + kEntryOverhead;
  std::lock_guard lock(mutex_);
  if (slot_of_[key] >= 0) return;
  // What can never fit must not push out others on its way to being refused.
  if (needed > capacity_bytes_ - frequency_.size() * kKeyOverhead || !make_room(key, needed)) {
    stats_.refused++;
    return;
  }
  slot_of_[key] = static_cast<int32_t>(entries_.size());
  entries_.push_back({key, std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end())});
  stats_.bytes += needed;
  stats_.admitted++;
}

void ListCache::clear() {
  std::lock_guard lock(mutex_);
  std::fill(slot_of_.begin(), slot_of_.end(), -1);
  std::fill(frequency_.begin(), frequency_.end(), uint8_t{0});
  entries_.clear();
  stats_ = CacheStatistics{};
  stats_.capacity_bytes = capacity_bytes_;
  stats_.bytes = off() ? 0 : frequency_.size() * kKeyOverhead;
}

CacheStatistics ListCache::statistics() const {
  std::lock_guard lock(mutex_);
  CacheStatistics result = stats_;
  result.entries = entries_.size();
  return result;
}

}  // namespace outcrop
