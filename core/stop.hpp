// Whether a call that is under way is to end early: its caller has gone, or the time allowed for it is over. Work that
// can take long asks between its steps; what is in flight is drained, buffers go back, and the error below is thrown.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "error.hpp"

namespace outcrop {

class Stop {
 public:
  Stop() = default;  // never

  // words (src/outcrop/stop.py owns them, and they outlive the call): [0] is not 0 once the call is to end, written by
  // any thread; [1] is the deadline in nanoseconds of CLOCK_MONOTONIC, INT64_MAX for none, and does not change.
  explicit Stop(const int64_t* words) : words_(words) {}

  // Throws Cancelled or DeadlineExceeded once the call is to end. A load and a look at the clock, about 25 ns.
  void check() const {
    if (words_ == nullptr) return;
    if (__atomic_load_n(words_, __ATOMIC_RELAXED) != 0) throw Cancelled("the call was cancelled");
    if (words_[1] != INT64_MAX && now_ns() >= words_[1])
      throw DeadlineExceeded("the time allowed for the call is over; allow more, or ask for less");
  }

  // Waits for `ready`, under the lock, and throws as `check` does. Who sets the flag does not know what is waited for,
  // so the wait looks up now and then.
  template <class Ready>
  void wait(std::condition_variable& changed, std::unique_lock<std::mutex>& lock, const Ready& ready) const {
    if (words_ == nullptr) return changed.wait(lock, ready);
    while (!changed.wait_for(lock, kLookUpEvery, ready)) check();
  }

 private:
  static constexpr std::chrono::milliseconds kLookUpEvery{2};

  static int64_t now_ns() {
    return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
  }

  const int64_t* words_ = nullptr;
};

}  // namespace outcrop
