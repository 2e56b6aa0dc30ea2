#include "kernels/rows.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/half.hpp"

namespace outcrop {

namespace {

// A float is finite when its exponent bits are not all ones; in integers, so that the loop becomes a vector reduction.
template <class Bits, Bits exponent>
bool any_not_finite(const std::byte* row, size_t dim) {
  unsigned bad = 0;
  for (size_t i = 0; i < dim; ++i) {
    Bits bits;
    std::memcpy(&bits, row + i * sizeof(Bits), sizeof(Bits));
    bad |= static_cast<Bits>(bits & exponent) == exponent;
  }
  return bad != 0;
}

template <class Bits, Bits exponent>
int64_t first_not_finite(const std::byte* rows, size_t n, size_t dim) {
  for (size_t r = 0; r < n; ++r)
    if (any_not_finite<Bits, exponent>(rows + r * dim * sizeof(Bits), dim)) return static_cast<int64_t>(r);
  return -1;
}

double sum_of_squares(const float* row, size_t dim) {
  constexpr size_t kLanes = 8;
  double sums[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= dim; i += kLanes)
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const double x = static_cast<double>(row[i + lane]);
      sums[lane] += x * x;
    }
  double sum = 0;
  for (; i < dim; ++i) sum += static_cast<double>(row[i]) * static_cast<double>(row[i]);
  for (double part : sums) sum += part;
  return sum;
}

void widen_bounds(const float* row, size_t dim, float* lower, float* upper) {
  for (size_t i = 0; i < dim; ++i) {
    lower[i] = row[i] < lower[i] ? row[i] : lower[i];
    upper[i] = row[i] > upper[i] ? row[i] : upper[i];
  }
}

void load_row(Dtype dtype, const std::byte* row, size_t dim, float* out) {
  switch (dtype) {
    case Dtype::float32:
      std::memcpy(out, row, dim * sizeof(float));
      break;
    case Dtype::float16:
      halves_to_floats(row, dim, out);
      break;
    case Dtype::uint8:
      for (size_t i = 0; i < dim; ++i) out[i] = static_cast<float>(std::to_integer<uint8_t>(row[i]));
      break;
    case Dtype::int8:
      for (size_t i = 0; i < dim; ++i) out[i] = static_cast<float>(static_cast<int8_t>(row[i]));
      break;
  }
}

}  // namespace

int64_t check_finite(Dtype dtype, const std::byte* rows, size_t n, size_t dim) {
  if (dtype == Dtype::float32) return first_not_finite<uint32_t, 0x7f800000u>(rows, n, dim);
  if (dtype == Dtype::float16) return first_not_finite<uint16_t, 0x7c00u>(rows, n, dim);
  return -1;
}

int64_t normalize_rows(float* rows, size_t n, size_t dim) {
  int64_t first_bad = -1;
  for (size_t r = 0; r < n; ++r) {
    float* row = rows + r * dim;
    const double squared = sum_of_squares(row, dim);
    if (!(squared > 0) || !std::isfinite(squared)) {
      if (first_bad < 0) first_bad = static_cast<int64_t>(r);
      continue;
    }
    const double scale = 1 / std::sqrt(squared);
    for (size_t i = 0; i < dim; ++i) row[i] = static_cast<float>(static_cast<double>(row[i]) * scale);
  }
  return first_bad;
}

void row_bounds(Dtype dtype, const std::byte* rows, size_t n, size_t dim, float* lower, float* upper) {
  std::fill(lower, lower + dim, std::numeric_limits<float>::infinity());
  std::fill(upper, upper + dim, -std::numeric_limits<float>::infinity());
  std::vector<float> row(dim);
  for (size_t r = 0; r < n; ++r) {
    load_row(dtype, rows + r * dim * item_bytes(dtype), dim, row.data());
    widen_bounds(row.data(), dim, lower, upper);
  }
}

}  // namespace outcrop
