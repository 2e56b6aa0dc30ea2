// k of n in-edges, by every rule there is. Offsets come out ascending, so that reading them is sequential.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "sampler/random.hpp"

namespace outcrop {

// The room that draws need, recycled from column to column. Each function writes at most min(k, n) ascending offsets of
// [0, n) to `out` (k when drawing with repetitions) and returns how many.
class Draws {
 public:
  static size_t all(uint64_t n, uint64_t* out) {
    for (uint64_t i = 0; i < n; ++i) out[i] = i;
    return n;
  }

  static size_t last(uint64_t n, size_t k, uint64_t* out) {
    for (size_t i = 0; i < k; ++i) out[i] = n - k + i;
    return k;
  }

  // The k offsets that stand last in the order of time_of(i), then i.
  template <class TimeOf>
  size_t latest(uint64_t n, size_t k, const TimeOf& time_of, uint64_t* out) {
    timed_.clear();
    for (uint64_t i = 0; i < n; ++i) timed_.emplace_back(time_of(i), i);
    const auto first = timed_.end() - static_cast<ptrdiff_t>(k);
    if (k > 0) std::nth_element(timed_.begin(), first, timed_.end());
    for (size_t i = 0; i < k; ++i) out[i] = first[static_cast<ptrdiff_t>(i)].second;
    std::sort(out, out + k);
    return k;
  }

  // Every subset of k equally likely; k < n. Floyd's algorithm (Bentley and Floyd, "A sample of brilliance", 1987): k
  // draws whatever n is. A word remembers what was taken from a short column.
  size_t distinct(RandomStream random, uint64_t n, size_t k, uint64_t* out) {
    if (n > 64) return distinct_of_many(random, n, k, out);
    uint64_t taken = 0;
    for (uint64_t last = n - k; last < n; ++last) {
      const uint64_t bit = uint64_t{1} << random.below(last + 1);
      taken |= taken & bit ? uint64_t{1} << last : bit;
    }
    for (size_t i = 0; i < k; ++i, taken &= taken - 1) out[i] = static_cast<uint64_t>(std::countr_zero(taken));
    return k;
  }

  // k independent draws, repetitions included.
  static size_t repeated(RandomStream random, uint64_t n, size_t k, uint64_t* out) {
    if (n == 0) return 0;
    for (size_t i = 0; i < k; ++i) out[i] = random.below(n);
    std::sort(out, out + k);
    return k;
  }

  // The k offsets with the smallest keys. key_of(i, limit) may return anything from `limit` on where the key is no
  // smaller than that; negative keys are left out.
  // With keys -log(u) / w this is successive sampling by weight, without replacement (Efraimidis and Spirakis,
  // "Weighted random sampling with a reservoir", 2006); with one u per source, sequential Poisson sampling (Balin and
  // Catalyurek, "Layer-neighbor sampling", 2023).
  template <class KeyOf>
  size_t smallest(uint64_t n, size_t k, const KeyOf& key_of, uint64_t* out) {
    if (k == 0) return 0;
    keyed_.clear();
    double limit = INFINITY;  // the largest key of a heap of k
    for (uint64_t i = 0; i < n; ++i) {
      const double key = key_of(i, limit);
      if (key < 0 || key >= limit) continue;
      if (keyed_.size() == k) {
        std::pop_heap(keyed_.begin(), keyed_.end());
        keyed_.pop_back();
      }
      keyed_.emplace_back(key, i);
      if (keyed_.size() < k) continue;
      limit == INFINITY ? std::make_heap(keyed_.begin(), keyed_.end()) : std::push_heap(keyed_.begin(), keyed_.end());
      limit = keyed_.front().first;
    }
    for (size_t i = 0; i < keyed_.size(); ++i) out[i] = keyed_[i].second;
    std::sort(out, out + keyed_.size());
    return keyed_.size();
  }

  // k independent draws, offset i with probability weight_of(i) / sum, by the inverse of the cumulative distribution.
  template <class WeightOf>
  size_t repeated_weighted(RandomStream random, uint64_t n, size_t k, const WeightOf& weight_of, uint64_t* out) {
    cumulative_.resize(n);
    double sum = 0;
    for (uint64_t i = 0; i < n; ++i) cumulative_[i] = sum += weight_of(i);
    if (sum == 0) return 0;
    // A number of (0, sum] finds the first offset that reaches it, never one that adds nothing.
    for (size_t i = 0; i < k; ++i) {
      const double x = unit_interval(random.bits()) * sum;
      out[i] = static_cast<uint64_t>(std::lower_bound(cumulative_.begin(), cumulative_.end(), x) - cumulative_.begin());
    }
    std::sort(out, out + k);
    return k;
  }

  size_t memory_bytes() const {
    return taken_.capacity() * sizeof(uint64_t) + cumulative_.capacity() * sizeof(double) +
           (keyed_.capacity() + timed_.capacity()) * sizeof(keyed_[0]);
  }

 private:
  size_t distinct_of_many(RandomStream random, uint64_t n, size_t k, uint64_t* out) {
    if (taken_.size() < (n + 63) / 64) taken_.resize((n + 63) / 64);
    for (uint64_t last = n - k, i = 0; last < n; ++last, ++i) {
      const uint64_t drawn = random.below(last + 1);
      out[i] = taken_[drawn / 64] >> (drawn % 64) & 1 ? last : drawn;
      taken_[out[i] / 64] |= uint64_t{1} << (out[i] % 64);
    }
    for (size_t i = 0; i < k; ++i) taken_[out[i] / 64] = 0;
    std::sort(out, out + k);
    return k;
  }

  std::vector<uint64_t> taken_;  // a bit per offset; clear between draws
  std::vector<double> cumulative_;
  std::vector<std::pair<double, uint64_t>> keyed_;
  std::vector<std::pair<int64_t, uint64_t>> timed_;
};

}  // namespace outcrop
