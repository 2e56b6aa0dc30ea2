// Search over one open version: many queries in flight per thread, each thread with its own read queue and buffers.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "cache/list_cache.hpp"
#include "io/buffer_arena.hpp"
#include "search/index_view.hpp"
#include "search/search_plan.hpp"
#include "stop.hpp"

namespace outcrop {

class Searcher {
 public:
  // buffer_bytes: memory for reads in flight, divided among num_contexts; a context serves one thread at a time.
  // Throws InvalidArgument when the view contradicts itself, ResourceExhausted when a context cannot hold the longest
  // list.
  Searcher(IndexView index, size_t num_contexts, size_t buffer_bytes, size_t cache_bytes);
  ~Searcher();

  // Answers a batch on up to options.num_threads threads, the caller's among them. Any number of callers: a caller
  // waits for one free context and takes more only if they are free. The result's arrays are written whole or an error
  // is thrown: Cancelled and DeadlineExceeded among them, by `stop`, which is asked before the first read and then
  // between lists and reads, and while waiting for a context.
  SearchUsage search(const SearchBatch& batch, const SearchOptions& options, const SearchResult& result,
                     const Stop& stop = {});

  const IndexView& index() const { return index_; }
  void clear_cache() { cache_.clear(); }
  CacheStatistics cache_statistics() const { return cache_.statistics(); }
  // The least a context needs: the longest list, block by block.
  static size_t least_context_bytes(const IndexView& index);

 private:
  struct Context;

  void check(const SearchBatch& batch, const SearchOptions& options) const;
  std::vector<std::unique_ptr<Context>> take_contexts(size_t wanted, const Stop& stop);
  void give_back(std::vector<std::unique_ptr<Context>> contexts);

  const IndexView index_;
  ListCache cache_;
  std::mutex mutex_;
  std::condition_variable context_free_;
  std::vector<std::unique_ptr<Context>> idle_;
};

}  // namespace outcrop
