// When will a key be used again? Answered for a whole trace, and for a window that moves with the requests.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

namespace outcrop {

// The next uses of a whole trace, computed from its end. 4 bytes per key.
class NextUses {
 public:
  // last: what follows a key's last use: kNever, or kUnknown when another trace comes behind this one.
  NextUses(uint64_t num_keys, uint32_t last);

  // Requests come with falling numbers. next_use[i] becomes the request after `request` that uses keys[i], or `last`.
  // A key may stand several times. Throws InvalidArgument.
  void before(uint32_t request, std::span<const uint32_t> keys, std::span<uint32_t> next_use);
  // The first request of those given that uses each key, or `last`: the next uses of what a cache holds at the begin.
  void first(std::span<const uint32_t> keys, std::span<uint32_t> next_use) const;

 private:
  std::vector<uint32_t> next_;  // per key: the earliest request seen
  uint64_t end_ = UINT32_MAX - 1;
};

// The next uses inside a window of announced requests. 8 bytes per key, 4 for each key in the window.
class LookAhead {
 public:
  explicit LookAhead(uint64_t num_keys);

  // Requests that are announced and not taken.
  size_t window() const { return pending_.size(); }
  // The number that the next announced request will have; they count from 0.
  uint32_t end() const { return end_; }

  // The next request at the window's end. Returns those of its keys that no request of the window holds: where one of
  // them is cached, its next use has just become known (NextUseCache::promote). Good until the next call.
  const std::vector<uint32_t>& announce(std::span<const uint32_t> keys);

  // Takes the oldest request out of the window: for each of its keys the next use inside the window, or kUnknown; of a
  // key that stands twice only the first has it. Throws InvalidArgument when the window is empty.
  std::vector<uint32_t> take();

 private:
  struct Place {
    uint32_t request, index;
  };

  std::vector<Place> latest_;                  // per key: where it was announced last
  std::deque<std::vector<uint32_t>> pending_;  // the next uses of each request of the window
  uint32_t end_ = 0;
  std::vector<uint32_t> outside_;
};

}  // namespace outcrop
