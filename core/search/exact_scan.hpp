// Brute force over raw rows as they stream by: the nearest k of everything pushed.
#pragma once

#include <vector>

#include "kernels/dtype.hpp"
#include "kernels/top_k.hpp"
#include "stop.hpp"

namespace outcrop {

class ExactScan {
 public:
  // queries: float32 [num_queries, dim], copied. typed: the same in the rows' integer type, or null.
  ExactScan(Dtype dtype, Metric metric, const float* queries, const std::byte* typed, size_t num_queries, size_t dim,
            size_t k);

  // rows: [n, dim] of dtype; ids: [n]. Queries are divided among num_threads. Throws what `stop` says, asked before
  // each query; then some queries have seen the rows, and the scan is of no more use.
  void push(const std::byte* rows, const int64_t* ids, size_t n, size_t num_threads, const Stop& stop = {});

  // ids, distances: [num_queries, k], nearest first; -1 and infinity where there were fewer rows.
  void result(int64_t* ids, float* distances) const;

  size_t num_queries() const { return best_.size(); }
  size_t dim() const { return dim_; }
  size_t k() const { return k_; }
  Dtype dtype() const { return dtype_; }

 private:
  void push_one(size_t query, const std::byte* rows, const int64_t* ids, size_t n, std::vector<float>& scratch);

  const Dtype dtype_;
  const Metric metric_;
  const size_t dim_, k_;
  std::vector<float> queries_;
  std::vector<std::byte> typed_;
  std::vector<TopK> best_;
};

}  // namespace outcrop
