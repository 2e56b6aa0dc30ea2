#include "kernels/distance.hpp"

#include <cassert>

#include "kernels/half.hpp"
#include "kernels/kernel_table.hpp"

namespace outcrop {

using kernels::kernel_table;

void distances(Dtype row_type, Metric metric, const float* query, const std::byte* rows, size_t n, size_t dim,
               size_t stride_bytes, float* out, Isa isa) {
  const auto scan = kernel_table(isa).float_query[static_cast<size_t>(row_type)][static_cast<size_t>(metric)];
  scan(query, rows, n, dim, stride_bytes, out);
}

void distances_u8(Metric metric, const uint8_t* query, const std::byte* rows, size_t n, size_t dim, size_t stride_bytes,
                  float* out, Isa isa) {
  assert(dim <= kMaxDim);
  const auto scan = kernel_table(isa).uint8_query[static_cast<size_t>(metric)];
  scan(reinterpret_cast<const std::byte*>(query), rows, n, dim, stride_bytes, out);
}

void distances_i8(Metric metric, const int8_t* query, const std::byte* rows, size_t n, size_t dim, size_t stride_bytes,
                  float* out, Isa isa) {
  assert(dim <= kMaxDim);
  const auto scan = kernel_table(isa).int8_query[static_cast<size_t>(metric)];
  scan(reinterpret_cast<const std::byte*>(query), rows, n, dim, stride_bytes, out);
}

void halves_to_floats(const std::byte* halves, size_t n, float* out, Isa isa) {
  kernel_table(isa).halves_to_floats(halves, n, out);
}

void floats_to_halves(const float* in, size_t n, std::byte* halves, Isa isa) {
  kernel_table(isa).floats_to_halves(in, n, halves);
}

}  // namespace outcrop
