#include "kernels/top_k.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include "error.hpp"

namespace outcrop {

TopK::TopK(size_t k) : k_(k) {
  if (k < 1 || k > kMaxK)
    throw InvalidArgument("k: expected 1 to " + std::to_string(kMaxK) + ", found " + std::to_string(k));
  entries_.resize(k);
  heap_.resize(k);
  position_.resize(k);
  table_.assign(std::bit_ceil(2 * k), kFree);  // At most half full, so that a free place is near.
}

void TopK::clear() {
  size_ = 0;
  threshold_ = std::numeric_limits<float>::infinity();
  std::fill(table_.begin(), table_.end(), kFree);
}

std::vector<Neighbor> TopK::sorted() const {
  std::vector<Neighbor> result(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(size_));
  std::sort(result.begin(), result.end());
  return result;
}

bool TopK::offer(float distance, int64_t id, uint64_t row) {
  const float settled =
      std::isnan(distance) ? std::numeric_limits<float>::infinity() : distance + 0.0f;  // -0 + 0 is 0.
  const Neighbor entry{settled, id, row};
  if (full() && !(entry < entries_[heap_[0]])) return false;
  const size_t found = find(id);
  if (table_[found] != kFree) {
    const uint32_t slot = table_[found];
    if (!(entry < entries_[slot])) return false;
    entries_[slot] = entry;
    sift_down(position_[slot]);
  } else if (full()) {
    replace_worst(entry);
  } else {
    const auto slot = static_cast<uint32_t>(size_++);
    entries_[slot] = entry;
    table_[found] = slot;
    place(slot, slot);
    sift_up(slot);
  }
  if (full()) threshold_ = entries_[heap_[0]].distance;
  return true;
}

void TopK::replace_worst(const Neighbor& entry) {
  const uint32_t slot = heap_[0];
  erase(entries_[slot].id);
  table_[find(entry.id)] = slot;  // Looked up after the erasure, which may have moved the free place.
  entries_[slot] = entry;
  sift_down(0);
}

size_t TopK::home(int64_t id) const {
  // The upper bits of a multiplication by 2^64 / golden ratio spread consecutive ids.
  const uint64_t mixed = static_cast<uint64_t>(id) * 0x9e3779b97f4a7c15ull;
  return (mixed ^ (mixed >> 32)) & (table_.size() - 1);
}

size_t TopK::find(int64_t id) const {
  size_t i = home(id);
  while (table_[i] != kFree && entries_[table_[i]].id != id) i = (i + 1) & (table_.size() - 1);
  return i;
}

void TopK::erase(int64_t id) {
  const size_t mask = table_.size() - 1;
  size_t hole = find(id);
  // Knuth 6.4, algorithm R: move back each later entry of the run whose home does not lie behind the hole.
  for (size_t i = (hole + 1) & mask; table_[i] != kFree; i = (i + 1) & mask) {
    const size_t from_home = (i - home(entries_[table_[i]].id)) & mask;
    if (from_home < ((i - hole) & mask)) continue;
    table_[hole] = table_[i];
    hole = i;
  }
  table_[hole] = kFree;
}

void TopK::place(size_t position, uint32_t slot) {
  heap_[position] = slot;
  position_[slot] = static_cast<uint32_t>(position);
}

void TopK::sift_up(size_t position) {
  const uint32_t slot = heap_[position];
  while (position > 0) {
    const size_t parent = (position - 1) / 2;
    if (!(entries_[heap_[parent]] < entries_[slot])) break;
    place(position, heap_[parent]);
    position = parent;
  }
  place(position, slot);
}

void TopK::sift_down(size_t position) {
  const uint32_t slot = heap_[position];
  for (;;) {
    size_t child = 2 * position + 1;
    if (child >= size_) break;
    if (child + 1 < size_ && entries_[heap_[child]] < entries_[heap_[child + 1]]) ++child;
    if (!(entries_[slot] < entries_[heap_[child]])) break;
    place(position, heap_[child]);
    position = child;
  }
  place(position, slot);
}

}  // namespace outcrop
