// The k nearest of a stream of (distance, id, row), at most one entry per id: copies of a vector come from several
// lists, and the nearest one wins. The order is (distance, id, row), total; results do not depend on the order of
// pushes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace outcrop {

struct Neighbor {
  float distance;
  int64_t id;
  uint64_t row;
  friend bool operator<(const Neighbor& a, const Neighbor& b) {
    if (a.distance != b.distance) return a.distance < b.distance;
    if (a.id != b.id) return a.id < b.id;
    return a.row < b.row;
  }
};

// A heap with the worst entry on top, and a hash table from id to its slot. A sorted array was no faster even at k
// = 10. Not for several threads at once. Memory is taken at construction: about 48 bytes per place.
class TopK {
 public:
  static constexpr size_t kMaxK = 16384;

  // Throws InvalidArgument unless 1 <= k <= kMaxK.
  explicit TopK(size_t k);

  // Offers one entry; true if it was kept. NaN counts as infinity, -0 as 0. A kept entry may be pushed out later.
  bool push(float distance, int64_t id, uint64_t row) {
    if (distance > threshold_) return false;  // NaN passes, and is settled below.
    return offer(distance, id, row);
  }

  // Offers n entries, rows numbered from first_row.
  void push_many(const float* distances, const int64_t* ids, size_t n, uint64_t first_row) {
    for (size_t i = 0; i < n; ++i) push(distances[i], ids[i], first_row + i);
  }

  // The distance of the k-th entry, exact at all times; infinity while there are fewer. Nothing above it can enter.
  float threshold() const { return threshold_; }

  size_t k() const { return k_; }
  size_t size() const { return size_; }
  bool full() const { return size_ == k_; }
  void clear();

  // Nearest first; size() entries. The selection itself stays as it is.
  std::vector<Neighbor> sorted() const;

 private:
  static constexpr uint32_t kFree = ~0u;

  bool offer(float distance, int64_t id, uint64_t row);
  void replace_worst(const Neighbor& entry);

  size_t home(int64_t id) const;
  size_t find(int64_t id) const;  // The table's place of this id, or the free place where it belongs.
  void erase(int64_t id);
  void sift_up(size_t position);
  void sift_down(size_t position);
  void place(size_t position, uint32_t slot);

  size_t k_;
  size_t size_ = 0;
  float threshold_ = std::numeric_limits<float>::infinity();
  std::vector<Neighbor> entries_;   // At their slots, which they keep.
  std::vector<uint32_t> heap_;      // Slots; the worst entry at 0.
  std::vector<uint32_t> position_;  // Of each slot in heap_.
  std::vector<uint32_t> table_;     // Open addressing by id: slots, or kFree.
};

}  // namespace outcrop
