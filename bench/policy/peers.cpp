// Policies that do not know the future, a key at a time, as their papers have them. Each returns the misses of a trace
// with an empty cache at first. misses: [num_requests], those of each request, which ends at key ends[r].
#include <algorithm>
#include <cstdint>
#include <deque>
#include <vector>

namespace {

constexpr uint32_t kNone = UINT32_MAX;

// A doubly linked list of keys, newest first.
class Queue {
 public:
  explicit Queue(uint64_t num_keys) : newer_(num_keys), older_(num_keys) {}

  void push(uint32_t key) {
    newer_[key] = kNone;
    older_[key] = newest_;
    (newest_ == kNone ? oldest_ : newer_[newest_]) = key;
    newest_ = key;
    size_++;
  }
  void remove(uint32_t key) {
    (newer_[key] == kNone ? newest_ : older_[newer_[key]]) = older_[key];
    (older_[key] == kNone ? oldest_ : newer_[older_[key]]) = newer_[key];
    size_--;
  }
  uint32_t oldest() const { return oldest_; }
  uint32_t newer(uint32_t key) const { return newer_[key]; }
  uint64_t size() const { return size_; }

 private:
  std::vector<uint32_t> newer_, older_;
  uint32_t newest_ = kNone, oldest_ = kNone;
  uint64_t size_ = 0;
};

class Lru {
 public:
  Lru(uint64_t num_keys, uint64_t capacity) : capacity_(capacity), queue_(num_keys), cached_(num_keys) {}

  bool hit(uint32_t key) {
    const bool found = cached_[key];
    if (found) {
      queue_.remove(key);
    } else if (queue_.size() == capacity_) {
      cached_[queue_.oldest()] = 0;
      queue_.remove(queue_.oldest());
    }
    cached_[key] = 1;
    queue_.push(key);
    return found;
  }

 private:
  uint64_t capacity_;
  Queue queue_;
  std::vector<uint8_t> cached_;
};

// Zhang et al., SIEVE is simpler than LRU, NSDI 2024.
class Sieve {
 public:
  Sieve(uint64_t num_keys, uint64_t capacity)
      : capacity_(capacity), queue_(num_keys), cached_(num_keys), visited_(num_keys) {}

  bool hit(uint32_t key) {
    if (cached_[key]) {
      visited_[key] = 1;
      return true;
    }
    if (queue_.size() == capacity_) evict();
    cached_[key] = 1;
    visited_[key] = 0;
    queue_.push(key);
    return false;
  }

 private:
  void evict() {
    uint32_t key = hand_ == kNone ? queue_.oldest() : hand_;
    while (visited_[key]) {
      visited_[key] = 0;
      key = queue_.newer(key) == kNone ? queue_.oldest() : queue_.newer(key);
    }
    hand_ = queue_.newer(key);
    cached_[key] = 0;
    queue_.remove(key);
  }

  uint64_t capacity_;
  Queue queue_;
  std::vector<uint8_t> cached_, visited_;
  uint32_t hand_ = kNone;
};

// Yang et al., FIFO queues are all you need for cache eviction, SOSP 2023, Algorithm 1: a tenth is the small queue, and
// as many keys are remembered as the main queue holds.
class S3Fifo {
 public:
  S3Fifo(uint64_t num_keys, uint64_t capacity)
      : capacity_(capacity),
        small_capacity_(std::max<uint64_t>(1, capacity / 10)),
        cached_(num_keys),
        frequency_(num_keys),
        forgotten_at_(num_keys) {}

  bool hit(uint32_t key) {
    if (cached_[key]) {
      frequency_[key] = static_cast<uint8_t>(std::min(frequency_[key] + 1, 3));
      return true;
    }
    while (small_.size() + main_.size() >= capacity_) evict();
    const bool ghost = forgotten_at_[key] != 0 && ghosts_ - forgotten_at_[key] < capacity_ - small_capacity_;
    (ghost ? main_ : small_).push_back(key);
    forgotten_at_[key] = 0;
    cached_[key] = 1;
    frequency_[key] = 0;
    return false;
  }

 private:
  void evict() {
    if (main_.empty() || small_.size() >= small_capacity_)
      evict_small();
    else
      evict_main();
  }
  void evict_small() {
    while (!small_.empty()) {
      const uint32_t key = small_.front();
      small_.pop_front();
      if (frequency_[key] <= 1) {
        cached_[key] = 0;
        forgotten_at_[key] = ++ghosts_;
        return;
      }
      main_.push_back(key);
      if (main_.size() > capacity_ - small_capacity_) return evict_main();
    }
  }
  void evict_main() {
    while (!main_.empty()) {
      const uint32_t key = main_.front();
      main_.pop_front();
      if (frequency_[key] == 0) {
        cached_[key] = 0;
        return;
      }
      frequency_[key]--;
      main_.push_back(key);
    }
  }

  uint64_t capacity_, small_capacity_;
  std::deque<uint32_t> small_, main_;
  std::vector<uint8_t> cached_, frequency_;
  std::vector<uint64_t> forgotten_at_;  // when the key left the small queue; 0: it is not remembered
  uint64_t ghosts_ = 0;
};

template <class Policy>
void run(const uint32_t* keys, const uint64_t* ends, uint64_t num_requests, uint64_t num_keys, uint64_t capacity,
         uint64_t* misses) {
  Policy policy(num_keys, capacity);
  uint64_t i = 0;
  for (uint64_t r = 0; r < num_requests; r++) {
    misses[r] = 0;
    for (; i < ends[r]; i++) misses[r] += !policy.hit(keys[i]);
  }
}

}  // namespace

extern "C" {
void lru(const uint32_t* keys, const uint64_t* ends, uint64_t num_requests, uint64_t num_keys, uint64_t capacity,
         uint64_t* misses) {
  run<Lru>(keys, ends, num_requests, num_keys, capacity, misses);
}
void sieve(const uint32_t* keys, const uint64_t* ends, uint64_t num_requests, uint64_t num_keys, uint64_t capacity,
           uint64_t* misses) {
  run<Sieve>(keys, ends, num_requests, num_keys, capacity, misses);
}
void s3_fifo(const uint32_t* keys, const uint64_t* ends, uint64_t num_requests, uint64_t num_keys, uint64_t capacity,
             uint64_t* misses) {
  run<S3Fifo>(keys, ends, num_requests, num_keys, capacity, misses);
}
}
