// A loop divided among threads, in chunks, for work whose items cost about the same.
#pragma once

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>
#include <vector>

namespace outcrop {

// Calls body(begin, end) for chunks of [0, n) on num_threads threads, the caller's among them. Rethrows the first
// error.
template <class Body>
void parallel_chunks(size_t n, size_t chunk, size_t num_threads, const Body& body) {
  std::atomic<size_t> next{0};
  num_threads = std::clamp<size_t>(num_threads, 1, std::max<size_t>(1, (n + chunk - 1) / chunk));
  std::vector<std::exception_ptr> errors(num_threads);
  auto work = [&](size_t thread) {
    try {
      for (size_t begin; (begin = next.fetch_add(chunk)) < n;) body(begin, std::min(n, begin + chunk));
    } catch (...) {
      errors[thread] = std::current_exception();
      next = n;
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (size_t i = 1; i < num_threads; i++) helpers.emplace_back(work, i);
    work(0);
  }
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
}

}  // namespace outcrop
