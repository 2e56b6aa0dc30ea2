// Work divided among a few threads, the caller's among them.
#pragma once

#include <algorithm>
#include <atomic>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

namespace outcrop {

// Calls work(0) here and work(1) … work(num_threads - 1) on threads of their own; returns when all have. Where the
// system refuses a thread there are fewer of them, so the callers share out their items at run time. `work` must not
// throw.
template <class Work>
void run_on_threads(size_t num_threads, const Work& work) {
  std::vector<std::jthread> helpers;
  try {
    for (size_t i = 1; i < num_threads; i++) helpers.emplace_back([&work, i] { work(i); });
  } catch (const std::system_error&) {
  }
  work(0);
}

// Calls body(begin, end) for chunks of [0, n) on num_threads threads. Rethrows the first
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
  run_on_threads(num_threads, work);
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
}

}  // namespace outcrop
