// Passes over whole arrays of rows that a build makes: validation, normalising, training of bounds. Rows are
// C-contiguous [n, dim]; no temporaries as large as the input.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/dtype.hpp"

namespace outcrop {

// The first row that holds a NaN or an infinity, or -1. Integer types are always finite.
int64_t check_finite(Dtype dtype, const std::byte* rows, size_t n, size_t dim);

// Scales every row to Euclidean length 1, in place; sums are in double, so that no finite row overflows or vanishes.
// Returns the first row that is zero or not finite, or -1; such rows stay as they are, all others are scaled.
int64_t normalize_rows(float* rows, size_t n, size_t dim);

// Smallest and largest value of each dimension; NaN is passed over. n = 0 gives +infinity and -infinity.
// lower, upper: float [dim].
void row_bounds(Dtype dtype, const std::byte* rows, size_t n, size_t dim, float* lower, float* upper);

}  // namespace outcrop
