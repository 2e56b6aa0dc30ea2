// Private to this folder: the functions of one instruction set, behind one pointer each.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/dispatch.hpp"
#include "kernels/dtype.hpp"

namespace outcrop::kernels {

using FloatScan = void (*)(const float* query, const std::byte* rows, size_t n, size_t dim, size_t stride, float* out);
using ByteScan = void (*)(const std::byte* query, const std::byte* rows, size_t n, size_t dim, size_t stride,
                          float* out);
// Squared L2 of offsets_i - step_i * c_i.
using Sq8Scan = void (*)(const float* offsets, const float* steps, const std::byte* codes, size_t n, size_t dim,
                         size_t stride, float* out);
using Sq8EncodeRow = void (*)(const float* row, const float* lower, const float* divisor, size_t dim, uint8_t* codes);

struct KernelTable {
  FloatScan float_query[4][2];  // By Dtype of the rows, Metric.
  ByteScan uint8_query[2];      // By Metric.
  ByteScan int8_query[2];
  Sq8Scan sq8_l2;
  Sq8EncodeRow sq8_encode_row;
  void (*halves_to_floats)(const std::byte* halves, size_t n, float* out);
  void (*floats_to_halves)(const float* in, size_t n, std::byte* halves);
  void (*bfloats_to_floats)(const std::byte* bfloats, size_t n, float* out);
  void (*scale_int8)(const std::byte* codes, size_t n, float scale, float* out);  // out_i = scale * code_i
};

extern const KernelTable kScalarKernels;
#if defined(__x86_64__)
extern const KernelTable kAvx2Kernels;
extern const KernelTable kAvx512Kernels;
#endif

const KernelTable& kernel_table(Isa isa);

}  // namespace outcrop::kernels
