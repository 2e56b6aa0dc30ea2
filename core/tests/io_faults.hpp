// A device that misbehaves as a test says.
#pragma once

#include <cerrno>
#include <functional>
#include <mutex>

#include "error.hpp"
#include "io/block_reader.hpp"
#include "io/read_faults.hpp"

namespace outcrop::testing {

struct Faults final : ReadFaults {
  std::function<int64_t(uint32_t length, std::byte* buffer, int64_t result)> on_answer;
  std::function<int()> on_submission;
  int setup = 0, registration = 0, direct = 0;

  int setup_error() override { return setup; }
  int registration_error() override { return registration; }
  int submission_error() override { return on_submission ? on_submission() : 0; }
  int direct_error() override { return direct; }

  int64_t answer(uint64_t, uint32_t length, std::byte* buffer, int64_t result) override {
    std::lock_guard lock(mutex_);  // the threads of the pread pool come here together
    return on_answer ? on_answer(length, buffer, result) : result;
  }

 private:
  std::mutex mutex_;
};

// io_uring is in this build and this kernel lets us have it.
inline bool io_uring_works() {
  static const bool works = [] {
    try {
      return BlockReader::open({.kind = ReaderKind::io_uring}) != nullptr;
    } catch (const StorageFailure&) {
      return false;
    }
  }();
  return works;
}

}  // namespace outcrop::testing
