// Distances from one query to many rows. rows + r * stride_bytes is row r; no alignment is needed, nothing is read
// outside the rows, stride_bytes may be any number (0 repeats one row).
//
// For one Isa the distance of a row depends on nothing but the row and the query: not on n, its place in the call, or
// alignment. So results do not change with the list copy or the batch that served a row.
//
// Accuracy of float kernels: |result - exact| <= (dim / 8 + 8) * 2^-23 * sum of |terms|, terms being (q_i - x_i)^2 or
// q_i * x_i. Overflow gives infinity, or NaN where infinities of both signs meet.
// Integer kernels are exact, rounded once to float32, and equal for every Isa.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/dispatch.hpp"
#include "kernels/dtype.hpp"

namespace outcrop {

// A float32 query against rows of any type. out: float [n].
void distances(Dtype row_type, Metric metric, const float* query, const std::byte* rows, size_t n, size_t dim,
               size_t stride_bytes, float* out, Isa isa = active_isa());

// A query of the rows' own integer type; dim <= kMaxDim.
void distances_u8(Metric metric, const uint8_t* query, const std::byte* rows, size_t n, size_t dim, size_t stride_bytes,
                  float* out, Isa isa = active_isa());
void distances_i8(Metric metric, const int8_t* query, const std::byte* rows, size_t n, size_t dim, size_t stride_bytes,
                  float* out, Isa isa = active_isa());

}  // namespace outcrop
