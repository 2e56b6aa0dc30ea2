#include "tiers/slot_buckets.hpp"

#include <algorithm>
#include <bit>

namespace outcrop {

namespace {
constexpr size_t kWordBits = 64;
// The floor is raised when that frees half of the buckets, and at least this many.
constexpr size_t kWorthForgetting = 1024;
}  // namespace

void BitTree::resize(size_t size) {
  size_t words = (size + kWordBits - 1) / kWordBits;
  for (size_t level = 0; words > 0; level++) {
    if (level == levels_.size()) {
      levels_.emplace_back();
      // A new level above one that was the top.
      if (level > 0 && levels_[level - 1][0] != 0) levels_[level].assign(1, 1);
    }
    levels_[level].resize(words);
    if (words == 1) break;
    words = (words + kWordBits - 1) / kWordBits;
  }
}

void BitTree::set(size_t i) {
  for (auto& level : levels_) {
    level[i / kWordBits] |= uint64_t{1} << (i % kWordBits);
    i /= kWordBits;
  }
}

void BitTree::reset(size_t i) {
  for (auto& level : levels_) {
    if ((level[i / kWordBits] &= ~(uint64_t{1} << (i % kWordBits))) != 0) return;
    i /= kWordBits;
  }
}

size_t BitTree::first() const {
  size_t i = 0;
  for (auto level = levels_.rbegin(); level != levels_.rend(); ++level)
    i = i * kWordBits + static_cast<size_t>(std::countr_zero((*level)[i]));
  return i;
}

size_t BitTree::last() const {
  size_t i = 0;
  for (auto level = levels_.rbegin(); level != levels_.rend(); ++level)
    i = i * kWordBits + kWordBits - 1 - static_cast<size_t>(std::countl_zero((*level)[i]));
  return i;
}

SlotBuckets::Bucket& SlotBuckets::use(uint64_t rank) {
  const size_t i = rank - floor_;
  if (i >= buckets_.size()) {
    // A bit tree grows by whole words anyway.
    buckets_.resize((i / kWordBits + 1) * kWordBits);
    occupied_.resize(buckets_.size());
  }
  Bucket& bucket = buckets_[i];
  if (bucket.slots.empty() && bucket.incoming == 0) occupied_.set(i);
  return bucket;
}

void SlotBuckets::clear(uint64_t rank) {
  const size_t i = rank - floor_;
  if (i >= buckets_.size()) return;
  buckets_[i] = Bucket{};
  occupied_.reset(i);
}

void SlotBuckets::clear_all() {
  buckets_.clear();
  occupied_ = BitTree{};
}

void SlotBuckets::raise_floor(uint64_t rank) {
  const size_t below = rank - floor_;
  if (below < kWorthForgetting || below < buckets_.size() / 2) return;
  buckets_.erase(buckets_.begin(), buckets_.begin() + static_cast<ptrdiff_t>(std::min(below, buckets_.size())));
  floor_ = rank;
  occupied_ = BitTree{};
  occupied_.resize(buckets_.size());
  for (size_t i = 0; i < buckets_.size(); i++)
    if (!buckets_[i].slots.empty()) occupied_.set(i);
}

}  // namespace outcrop
