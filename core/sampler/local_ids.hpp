// Which row of the minibatch is this node? A hash table that lives as long as one minibatch is drawn.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "sampler/random.hpp"

namespace outcrop {

// Uninitialised, for std::free, in huge pages where it is large: every look-up of a large table would otherwise walk
// the page table too.
void* allocate_huge(size_t num_bytes);

// Open addressing with linear probing, at most half full. Memory is kept from minibatch to minibatch and follows their
// size, not the graph's.
// Key: uint32_t (a node) or uint64_t (a tree and a node). Its largest value is no key.
template <class Key>
class LocalIds {
 public:
  // Empties the table; it is left with room for about as many keys as it had.
  void clear() {
    place(std::bit_ceil(std::max(kSmallest, size_t{2} * size_)));
    size_ = 0;
  }

  // Makes sure that `extra` more keys fit. key_of_row(row) tells the keys in the table, which may have to move.
  template <class KeyOfRow>
  void reserve(size_t extra, const KeyOfRow& key_of_row) {
    const size_t wanted = 2 * (size_ + extra);
    if (wanted <= mask_ + 1) return;
    place(std::bit_ceil(wanted));
    for (uint32_t row = 0; row < size_; ++row) {
      size_t at = home(key_of_row(row));
      while (entries_[at].key != kEmpty) at = (at + 1) & mask_;
      entries_[at] = {key_of_row(row), row};
    }
  }

  void prefetch(Key key) const { __builtin_prefetch(&entries_[home(key)], 1); }

  // Returns the key's row; a new key gets the next one.
  uint32_t find_or_add(Key key) {
    for (size_t at = home(key);; at = (at + 1) & mask_) {
      Entry& entry = entries_[at];
      if (entry.key == key) return entry.row;
      if (entry.key == kEmpty) {
        entry = {key, size_};
        return size_++;
      }
    }
  }

  uint32_t size() const { return size_; }
  size_t memory_bytes() const { return allocated_ * sizeof(Entry); }

 private:
  struct Entry {
    Key key;
    uint32_t row;
  };
  static constexpr Key kEmpty = static_cast<Key>(-1);
  static constexpr size_t kSmallest = 1024;

  size_t home(Key key) const { return static_cast<size_t>((key * kGoldenGamma) >> shift_); }

  // An empty table of `capacity` entries.
  void place(size_t capacity) {
    if (capacity > allocated_) {
      entries_.reset();
      entries_.reset(static_cast<Entry*>(allocate_huge(capacity * sizeof(Entry))));
      allocated_ = capacity;
    }
    mask_ = capacity - 1;
    shift_ = 64 - std::countr_zero(capacity);
    std::memset(static_cast<void*>(entries_.get()), 0xff, capacity * sizeof(Entry));
  }

  struct Free {
    void operator()(Entry* entries) const { std::free(entries); }
  };

  std::unique_ptr<Entry[], Free> entries_;
  size_t allocated_ = 0, mask_ = 0;
  int shift_ = 0;
  uint32_t size_ = 0;
};

}  // namespace outcrop
