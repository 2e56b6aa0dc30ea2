#include "search/exact_scan.hpp"

#include <cstring>

#include "kernels/distance.hpp"
#include "search/parallel.hpp"

namespace outcrop {

ExactScan::ExactScan(Dtype dtype, Metric metric, const float* queries, const std::byte* typed, size_t num_queries,
                     size_t dim, size_t k)
    : dtype_(dtype), metric_(metric), dim_(dim), k_(k), queries_(queries, queries + num_queries * dim) {
  if (typed != nullptr) typed_.assign(typed, typed + num_queries * dim * item_bytes(dtype));
  for (size_t q = 0; q < num_queries; q++) best_.emplace_back(k);
}

void ExactScan::push(const std::byte* rows, const int64_t* ids, size_t n, size_t num_threads, const Stop& stop) {
  parallel_chunks(num_queries(), 1, num_threads, [&](size_t begin, size_t end) {
    thread_local std::vector<float> scratch;
    for (size_t q = begin; q < end; q++) {
      stop.check();
      push_one(q, rows, ids, n, scratch);
    }
  });
}

void ExactScan::push_one(size_t q, const std::byte* rows, const int64_t* ids, size_t n, std::vector<float>& scratch) {
  scratch.resize(n);
  const size_t stride = dim_ * item_bytes(dtype_);
  const std::byte* typed = typed_.empty() ? nullptr : typed_.data() + q * stride;
  if (typed == nullptr)
    distances(dtype_, metric_, queries_.data() + q * dim_, rows, n, dim_, stride, scratch.data());
  else if (dtype_ == Dtype::uint8)
    distances_u8(metric_, reinterpret_cast<const uint8_t*>(typed), rows, n, dim_, stride, scratch.data());
  else
    distances_i8(metric_, reinterpret_cast<const int8_t*>(typed), rows, n, dim_, stride, scratch.data());
  best_[q].push_many(scratch.data(), ids, n, 0);
}

void ExactScan::result(int64_t* ids, float* distances) const {
  for (size_t q = 0; q < num_queries(); q++) {
    std::vector<Neighbor> found = best_[q].sorted();
    for (size_t i = 0; i < k_; i++) {
      ids[q * k_ + i] = i < found.size() ? found[i].id : -1;
      distances[q * k_ + i] = i < found.size() ? found[i].distance : std::numeric_limits<float>::infinity();
    }
  }
}

}  // namespace outcrop
