// What a caller's thread writes and the core reads.
#pragma once

#include <chrono>
#include <cstdint>

#include "stop.hpp"

namespace outcrop::testing {

struct StopWords {
  int64_t words[2] = {0, INT64_MAX};
  void set() { __atomic_store_n(words, 1, __ATOMIC_RELAXED); }
  void end_after(std::chrono::nanoseconds time) {
    words[1] = std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch() + time).count();
  }
};

}  // namespace outcrop::testing
