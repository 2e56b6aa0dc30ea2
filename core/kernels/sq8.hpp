// The 8-bit scalar code: one byte per dimension, decoded as lower_i + step_i * c_i.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/dispatch.hpp"
#include "kernels/dtype.hpp"

namespace outcrop {

// The trained code book of one index. Immutable, shared by threads.
class Sq8 {
 public:
  // Throws InvalidArgument if the lengths differ, or a bound is not finite, or a step is negative. A step of 0 is a
  // dimension that is constant.
  Sq8(std::span<const float> lower, std::span<const float> step);

  size_t dim() const { return lower_.size(); }
  std::span<const float> lower() const { return lower_; }
  std::span<const float> step() const { return step_; }

  // c_i = (x_i - lower_i) / step_i rounded to nearest even, held to 0..255. The same codes for every Isa.
  // rows: float [n, dim]; codes: [n, dim]; error_norms: [n] ||x - decoded||, or null;
  // right to 2^-22 * (||x|| + ||lower||) and 1e-5 of itself.
  void encode(const float* rows, size_t n, uint8_t* codes, float* error_norms, Isa isa = active_isa()) const;

  // codes: n rows stride_bytes apart; out: float [n, dim].
  void decode(const uint8_t* codes, size_t n, size_t stride_bytes, float* out) const;

 private:
  std::vector<float> lower_, step_, divisor_;
};

// One query, prepared once and used for every list. May be prepared again; then it keeps its memory.
class Sq8Query {
 public:
  Sq8Query() = default;
  Sq8Query(const Sq8& code, Metric metric, const float* query) { prepare(code, metric, query); }
  void prepare(const Sq8& code, Metric metric, const float* query);

  Metric metric() const { return metric_; }
  size_t dim() const { return weights_.size(); }

 private:
  friend void sq8_distances(const Sq8Query&, const std::byte*, size_t, size_t, float*, Isa);
  Metric metric_ = Metric::l2;
  std::vector<float> weights_;  // l2: step_i. inner_product: q_i * step_i.
  std::vector<float> offsets_;  // l2: q_i - lower_i. inner_product: empty.
  float constant_ = 0;          // inner_product: the sum of q_i * lower_i, in double, rounded.
};

// Distances of the query to the decoded codes; codes + r * stride_bytes is row r. out: float [n]. The promises of
// distance.hpp hold here too; terms are those of the decoded rows, with q_i - lower_i rounded first.
void sq8_distances(const Sq8Query& query, const std::byte* codes, size_t n, size_t stride_bytes, float* out,
                   Isa isa = active_isa());

}  // namespace outcrop
