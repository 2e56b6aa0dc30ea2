#include "tiers/next_use_cache.hpp"

#include <algorithm>
#include <functional>
#include <string>

#include "error.hpp"

namespace outcrop {

namespace {

// In slot_of_ while a step runs: missed, and a candidate for the cache.
constexpr uint32_t kIncoming = kUnknown;
// Ranks above all next uses are those of unknown ones.
constexpr uint64_t kUnknownRanks = uint64_t{1} << 32;
// Requests a next use may lie ahead: a bucket for each takes 32 bytes.
constexpr uint64_t kFarthest = uint64_t{1} << 24;
// Tables larger than the processor's caches are looked up this many keys ahead.
constexpr size_t kPrefetch = 24;

bool is_known(uint32_t next_use) { return next_use < kUnknown; }

std::string text(uint64_t number) { return std::to_string(number); }

void require(bool condition, const auto& message) {
  if (!condition) throw InvalidArgument(message());
}

}  // namespace

NextUseCache::NextUseCache(uint64_t num_keys, uint64_t capacity) {
  require(num_keys < kUnknown && capacity < kUnknown, [&] {
    return "cache: expected fewer than 4294967294 keys and slots, found " + text(num_keys) + " and " + text(capacity);
  });
  slot_of_.assign(num_keys, kMiss);
  slots_.assign(capacity, Slot{kMiss, kNever, 0, kNever});
  free_.resize(capacity);
  for (size_t i = 0; i < capacity; i++) free_[i] = static_cast<uint32_t>(capacity - 1 - i);
}

// ---- ranks and buckets

uint64_t NextUseCache::rank(uint32_t key, uint32_t next_use) const {
  if (is_known(next_use)) return next_use;
  return kUnknownRanks + (scores_.empty() ? 0 : UINT16_MAX - scores_[key]);
}

SlotBuckets::Bucket& NextUseCache::bucket_at(uint64_t rank) {
  return rank < kUnknownRanks ? known_.at(rank) : unknown_.at(rank - kUnknownRanks);
}

SlotBuckets::Bucket& NextUseCache::use_bucket(uint64_t rank) {
  return rank < kUnknownRanks ? known_.use(rank) : unknown_.use(rank - kUnknownRanks);
}

void NextUseCache::place(uint32_t slot) {
  Slot& placed = slots_[slot];
  std::vector<uint32_t>& bucket = use_bucket(rank(placed.key, placed.next_use)).slots;
  placed.position = static_cast<uint32_t>(bucket.size());
  bucket.push_back(slot);
}

void NextUseCache::take_out(uint32_t slot) {
  const Slot& taken = slots_[slot];
  const uint64_t from = rank(taken.key, taken.next_use);
  std::vector<uint32_t>& bucket = bucket_at(from).slots;
  bucket[taken.position] = bucket.back();
  slots_[bucket.back()].position = taken.position;
  bucket.pop_back();
  if (!bucket.empty()) return;
  if (from < kUnknownRanks)
    known_.clear(from);
  else
    unknown_.clear(from - kUnknownRanks);
}

void NextUseCache::evict(uint32_t slot, uint32_t request) {
  Slot& evicted = slots_[slot];
  step_.evictions.push_back({evicted.key, slot, evicted.next_use, evicted.last_use == request});
  slot_of_[evicted.key] = kMiss;
  evicted.key = kMiss;
  free_.push_back(slot);
}

// ---- a request

const CacheStep& NextUseCache::step(uint32_t request, std::span<const uint32_t> keys,
                                    std::span<const uint32_t> next_use) {
  check(request, keys, next_use);
  step_.inserts.clear();
  step_.evictions.clear();
  step_.bypassed.clear();
  look_up(keys);
  keep_hits(request, keys, next_use);
  const uint64_t incoming = count_incoming(keys, next_use);
  const uint64_t excess = incoming > free_.size() ? incoming - free_.size() : 0;
  const Cut cut = make_room(excess, request);
  sort_free_slots(incoming - cut.refused);
  insert_misses(cut, request, keys, next_use);
  next_request_ = uint64_t{request} + 1;
  known_.raise_floor(next_request_);
  statistics_.requests++;
  statistics_.inserts += step_.inserts.size();
  statistics_.evictions += step_.evictions.size();
  return step_;
}

void NextUseCache::check(uint32_t request, std::span<const uint32_t> keys, std::span<const uint32_t> next_use) const {
  require(request >= next_request_ && request < kUnknown, [&] {
    return "request: expected " + text(next_request_) + " or more, at most 4294967293, found " + text(request);
  });
  require(known_.empty() || known_.first() >= request, [&] {
    return "request " + text(request) + ": keys in the cache were to be used by request " + text(known_.first()) +
           ", which did not come";
  });
  require(keys.size() == next_use.size(),
          [&] { return text(keys.size()) + " keys, but " + text(next_use.size()) + " next uses"; });
  for (size_t i = 0; i < keys.size(); i++) {
    require(keys[i] < slot_of_.size(), [&] {
      return "keys[" + text(i) + "]: expected less than " + text(slot_of_.size()) + ", found " + text(keys[i]);
    });
    require(!is_known(next_use[i]) || (next_use[i] > request && next_use[i] - request <= kFarthest), [&] {
      return "next_use[" + text(i) + "] of key " + text(keys[i]) + ": expected a request in (" + text(request) + ", " +
             text(request + kFarthest) + "], never or unknown, found " + text(next_use[i]);
    });
  }
}

void NextUseCache::look_up(std::span<const uint32_t> keys) {
  step_.hit_slots.resize(keys.size());
  for (size_t i = 0; i < keys.size(); i++) {
    if (i + kPrefetch < keys.size()) __builtin_prefetch(&slot_of_[keys[i + kPrefetch]]);
    step_.hit_slots[i] = slot_of_[keys[i]];
  }
}

// Moves the keys that were hit to their next use. Those that were expected now make up the bucket of this request,
// which is therefore dropped as a whole.
void NextUseCache::keep_hits(uint32_t request, std::span<const uint32_t> keys, std::span<const uint32_t> next_use) {
  size_t hits = 0, expected = 0;
  for (size_t i = 0; i < keys.size(); i++) {
    if (i + kPrefetch < keys.size() && step_.hit_slots[i + kPrefetch] != kMiss)
      __builtin_prefetch(&slots_[step_.hit_slots[i + kPrefetch]]);
    const uint32_t slot = step_.hit_slots[i];
    if (slot == kMiss) continue;
    hits++;
    Slot& hit = slots_[slot];
    if (hit.next_use == kNever) continue;   // pinned
    if (hit.last_use == request) continue;  // the key stands twice
    hit.last_use = request;
    if (hit.next_use == request)
      expected++;
    else if (!is_known(hit.next_use))
      take_out(slot);
    else
      throw InvalidArgument("request " + text(request) + " asks for key " + text(keys[i]) +
                            ", whose next use was to be " + text(hit.next_use));
    hit.next_use = next_use[i];
    if (next_use[i] == kNever)
      evict(slot, request);
    else
      place(slot);
  }
  require(expected == known_.size(request), [&] {
    return "request " + text(request) + " does not ask for " + text(known_.size(request) - expected) + " keys of " +
           text(known_.size(request)) + " in the cache whose next use it was to be";
  });
  known_.clear(request);
  statistics_.hits += hits;
  statistics_.misses += keys.size() - hits;
}

// Notes in each bucket how many missed keys would enter it.
uint64_t NextUseCache::count_incoming(std::span<const uint32_t> keys, std::span<const uint32_t> next_use) {
  uint64_t incoming = 0;
  for (size_t i = 0; i < keys.size(); i++) {
    if (i + kPrefetch < keys.size()) __builtin_prefetch(&slot_of_[keys[i + kPrefetch]], 1);
    if (step_.hit_slots[i] != kMiss || next_use[i] == kNever || slot_of_[keys[i]] == kIncoming) continue;
    slot_of_[keys[i]] = kIncoming;
    use_bucket(rank(keys[i], next_use[i])).incoming++;
    incoming++;
  }
  return incoming;
}

// From the last rank upwards, refuses candidates and evicts, in this order: of two that are used next at the same time,
// the one that is in the cache need not be copied.
NextUseCache::Cut NextUseCache::make_room(uint64_t excess, uint32_t request) {
  Cut cut{UINT64_MAX, 0, 0};
  while (excess > 0) {
    SlotBuckets& worst = unknown_.empty() ? known_ : unknown_;
    const uint64_t last = worst.last();
    SlotBuckets::Bucket& bucket = worst.at(last);
    const uint32_t refused = static_cast<uint32_t>(std::min<uint64_t>(bucket.incoming, excess));
    bucket.incoming -= refused;
    excess -= refused;
    cut.refused += refused;
    for (; excess > 0 && !bucket.slots.empty(); excess--) {
      evict(bucket.slots.back(), request);
      bucket.slots.pop_back();
    }
    cut.rank = (&worst == &unknown_ ? kUnknownRanks : 0) + last;
    cut.room = bucket.incoming;
    if (bucket.slots.empty() && bucket.incoming == 0)
      worst.clear(last);
    else if (bucket.slots.size() < bucket.slots.capacity() / 4)
      bucket.slots.shrink_to_fit();
  }
  return cut;
}

// Slots are handed out ascending, so that rows that enter together lie together, in their order: copying them, and
// reading those back that are used again together, goes through memory in one direction.
void NextUseCache::sort_free_slots(size_t count) {
  std::sort(free_.end() - static_cast<ptrdiff_t>(count), free_.end(), std::greater<>());
}

void NextUseCache::insert_misses(Cut cut, uint32_t request, std::span<const uint32_t> keys,
                                 std::span<const uint32_t> next_use) {
  for (size_t i = 0; i < keys.size(); i++) {
    if (i + kPrefetch < keys.size()) __builtin_prefetch(&slot_of_[keys[i + kPrefetch]], 1);
    if (step_.hit_slots[i] != kMiss || slot_of_[keys[i]] != kIncoming) continue;
    const uint64_t wanted = rank(keys[i], next_use[i]);
    if (wanted > cut.rank || (wanted == cut.rank && cut.room == 0)) {
      slot_of_[keys[i]] = kMiss;
      if (is_known(next_use[i])) step_.bypassed.push_back(static_cast<uint32_t>(i));
      continue;
    }
    if (wanted == cut.rank) cut.room--;
    const uint32_t slot = free_.back();
    free_.pop_back();
    slots_[slot] = {keys[i], next_use[i], 0, request};
    slot_of_[keys[i]] = slot;
    bucket_at(wanted).incoming = 0;
    place(slot);
    step_.inserts.push_back({static_cast<uint32_t>(i), slot});
  }
}

// ---- between requests

void NextUseCache::promote(std::span<const uint32_t> keys, uint32_t request) {
  require(request >= next_request_ && request - next_request_ < kFarthest, [&] {
    return "promote: expected a request in [" + text(next_request_) + ", " + text(next_request_ + kFarthest) +
           "), found " + text(request);
  });
  for (size_t i = 0; i < keys.size(); i++) {
    require(keys[i] < slot_of_.size(), [&] {
      return "keys[" + text(i) + "]: expected less than " + text(slot_of_.size()) + ", found " + text(keys[i]);
    });
    if (i + kPrefetch < keys.size() && keys[i + kPrefetch] < slot_of_.size())
      __builtin_prefetch(&slot_of_[keys[i + kPrefetch]]);
    const uint32_t slot = slot_of_[keys[i]];
    if (slot == kMiss || slots_[slot].next_use != kUnknown) continue;
    take_out(slot);
    slots_[slot].next_use = request;
    place(slot);
  }
}

void NextUseCache::set_scores(std::span<const uint16_t> scores) {
  require(scores.size() == slot_of_.size(), [&] {
    return "scores: expected one for each of " + text(slot_of_.size()) + " keys, found " + text(scores.size());
  });
  scores_.assign(scores.begin(), scores.end());
  unknown_.clear_all();
  for (uint32_t slot = 0; slot < slots_.size(); slot++)
    if (slots_[slot].key != kMiss && slots_[slot].next_use == kUnknown) place(slot);
}

void NextUseCache::pin(std::span<const uint32_t> keys) {
  require(size() == 0 && next_request_ == 0 && keys.size() <= slots_.size(), [&] {
    return "pin: expected a new cache and at most " + text(slots_.size()) + " keys, found " + text(next_request_) +
           " requests, " + text(size()) + " keys in the cache and " + text(keys.size()) + " to pin";
  });
  for (size_t i = 0; i < keys.size(); i++) {
    require(keys[i] < slot_of_.size() && slot_of_[keys[i]] == kMiss, [&] {
      return "pin: keys[" + text(i) + "]: expected each key once, less than " + text(slot_of_.size()) + ", found " +
             text(keys[i]);
    });
    slots_[i] = {keys[i], kNever, 0, kNever};
    slot_of_[keys[i]] = static_cast<uint32_t>(i);
  }
  free_.resize(slots_.size() - keys.size());
}

std::vector<CachedKey> NextUseCache::contents() const {
  std::vector<CachedKey> found;
  found.reserve(size());
  for (uint32_t slot = 0; slot < slots_.size(); slot++)
    if (slots_[slot].key != kMiss && slots_[slot].next_use != kNever)
      found.push_back({slots_[slot].key, slot, slots_[slot].next_use});
  return found;
}

void NextUseCache::load(std::span<const CachedKey> contents) {
  require(size() == 0, [&] { return "load: expected an empty cache, found " + text(size()) + " keys in it"; });
  for (const CachedKey& loaded : contents) {
    require(loaded.key < slot_of_.size() && loaded.slot < slots_.size() && loaded.next_use != kNever &&
                (!is_known(loaded.next_use) ||
                 (loaded.next_use >= next_request_ && loaded.next_use - next_request_ < kFarthest)),
            [&] {
              return "load: key " + text(loaded.key) + " in slot " + text(loaded.slot) + " with next use " +
                     text(loaded.next_use) + " does not fit " + text(slot_of_.size()) + " keys, " +
                     text(slots_.size()) + " slots and next uses from " + text(next_request_) + " on";
            });
    require(slot_of_[loaded.key] == kMiss && slots_[loaded.slot].key == kMiss,
            [&] { return "load: key " + text(loaded.key) + " or slot " + text(loaded.slot) + " is given twice"; });
    slots_[loaded.slot] = {loaded.key, loaded.next_use, 0, kNever};
    slot_of_[loaded.key] = loaded.slot;
    place(loaded.slot);
  }
  free_.clear();
  for (size_t i = slots_.size(); i-- > 0;)
    if (slots_[i].key == kMiss) free_.push_back(static_cast<uint32_t>(i));
}

}  // namespace outcrop
