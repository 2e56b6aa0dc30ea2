#include "kernels/sq8.hpp"

#include <cmath>
#include <limits>
#include <string>

#include "error.hpp"
#include "kernels/kernel_table.hpp"

namespace outcrop {

using kernels::kernel_table;

Sq8::Sq8(std::span<const float> lower, std::span<const float> step)
    : lower_(lower.begin(), lower.end()), step_(step.begin(), step.end()) {
  if (lower.size() != step.size())
    throw InvalidArgument("Sq8: " + std::to_string(lower.size()) + " lower bounds, but " + std::to_string(step.size()) +
                          " steps");
  for (size_t i = 0; i < lower.size(); ++i)
    if (!std::isfinite(lower[i]) || !std::isfinite(step[i]) || step[i] < 0)
      throw InvalidArgument("Sq8: dimension " + std::to_string(i) +
                            ": expected a finite lower bound and a finite step >= 0, found " +
                            std::to_string(lower[i]) + " and " + std::to_string(step[i]));
  // Dividing by infinity sends every value of a constant dimension to code 0, without a branch.
  for (float s : step_) divisor_.push_back(s > 0 ? s : std::numeric_limits<float>::infinity());
}

void Sq8::encode(const float* rows, size_t n, uint8_t* codes, float* error_norms, Isa isa) const {
  const auto& table = kernel_table(isa);
  const size_t d = dim();
  std::vector<float> offsets(d);
  for (size_t r = 0; r < n; ++r) {
    const float* row = rows + r * d;
    uint8_t* code = codes + r * d;
    table.sq8_encode_row(row, lower_.data(), divisor_.data(), d, code);
    if (error_norms == nullptr) continue;
    // The error is the distance of the row to its own decoded code: one kernel for both uses.
    for (size_t i = 0; i < d; ++i) offsets[i] = row[i] - lower_[i];
    float squared;
    table.sq8_l2(offsets.data(), step_.data(), reinterpret_cast<const std::byte*>(code), 1, d, d, &squared);
    error_norms[r] = std::sqrt(squared);
  }
}

void Sq8::decode(const uint8_t* codes, size_t n, size_t stride_bytes, float* out) const {
  for (size_t r = 0; r < n; ++r)
    for (size_t i = 0; i < dim(); ++i)
      out[r * dim() + i] = lower_[i] + step_[i] * static_cast<float>(codes[r * stride_bytes + i]);
}

void Sq8Query::prepare(const Sq8& code, Metric metric, const float* query) {
  metric_ = metric;
  weights_.assign(code.step().begin(), code.step().end());
  offsets_.clear();
  constant_ = 0;
  if (metric == Metric::l2) {
    for (size_t i = 0; i < code.dim(); ++i) offsets_.push_back(query[i] - code.lower()[i]);
    return;
  }
  double constant = 0;
  for (size_t i = 0; i < code.dim(); ++i) {
    weights_[i] *= query[i];
    constant += static_cast<double>(query[i]) * static_cast<double>(code.lower()[i]);
  }
  constant_ = static_cast<float>(constant);
}

void sq8_distances(const Sq8Query& query, const std::byte* codes, size_t n, size_t stride_bytes, float* out, Isa isa) {
  const auto& table = kernel_table(isa);
  const size_t dim = query.dim();
  if (query.metric_ == Metric::l2) {
    table.sq8_l2(query.offsets_.data(), query.weights_.data(), codes, n, dim, stride_bytes, out);
    return;
  }
  const auto scan = table.float_query[static_cast<size_t>(Dtype::uint8)][static_cast<size_t>(Metric::inner_product)];
  scan(query.weights_.data(), codes, n, dim, stride_bytes, out);
  for (size_t r = 0; r < n; ++r) out[r] -= query.constant_;
}

}  // namespace outcrop
