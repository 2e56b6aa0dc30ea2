// Slots of a cache, grouped by a rank, and the group that ranks last.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace outcrop {

// A set of small numbers that knows its ends: a bit each, and above every 64 bits one that says whether any is set.
class BitTree {
 public:
  void resize(size_t size);  // what is below `size` stays
  void set(size_t i);
  void reset(size_t i);
  bool empty() const { return levels_.empty() || levels_.back()[0] == 0; }
  // Not when empty.
  size_t first() const;
  size_t last() const;

 private:
  std::vector<std::vector<uint64_t>> levels_;  // bits first; the last level is one word
};

// Buckets are made when first used. Buckets below a rising floor are forgotten, so that ranks may count up for ever.
class SlotBuckets {
 public:
  struct Bucket {
    std::vector<uint32_t> slots;
    uint32_t incoming = 0;  // places asked for, but not taken yet
  };

  bool empty() const { return occupied_.empty(); }
  uint64_t first() const { return floor_ + occupied_.first(); }
  uint64_t last() const { return floor_ + occupied_.last(); }
  // Made and marked as occupied: the caller puts something in.
  Bucket& use(uint64_t rank);
  // One that is in use.
  Bucket& at(uint64_t rank) { return buckets_[rank - floor_]; }
  size_t size(uint64_t rank) const {
    return rank - floor_ < buckets_.size() ? buckets_[rank - floor_].slots.size() : 0;
  }
  // Empties the bucket and returns its memory.
  void clear(uint64_t rank);
  void clear_all();
  // All buckets below `rank` are empty and not asked for again.
  void raise_floor(uint64_t rank);

 private:
  uint64_t floor_ = 0;
  std::vector<Bucket> buckets_;
  BitTree occupied_;
};

}  // namespace outcrop
