// The kernels in plain C++: the twins that every other variant is tested against, and what a CPU without AVX2 runs.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/half.hpp"
#include "kernels/kernel_table.hpp"

namespace outcrop::kernels {

namespace {

struct Float32 {
  static constexpr size_t kBytes = 4;
  static float load(const std::byte* row, size_t i) {
    float value;  // Rows need not be aligned.
    std::memcpy(&value, row + i * kBytes, sizeof(value));
    return value;
  }
};
struct Float16 {
  static constexpr size_t kBytes = 2;
  static float load(const std::byte* row, size_t i) {
    uint16_t value;
    std::memcpy(&value, row + i * kBytes, sizeof(value));
    return half_to_float(value);
  }
};
struct Uint8 {
  static int load(const std::byte* row, size_t i) { return std::to_integer<uint8_t>(row[i]); }
};
struct Int8 {
  static int load(const std::byte* row, size_t i) { return static_cast<int8_t>(row[i]); }
};

// Eight sums side by side: lets the compiler use SSE2, and keeps rounding errors down.
constexpr size_t kLanes = 8;

template <class Term>
float sum_of_terms(size_t dim, Term term) {
  float sums[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= dim; i += kLanes)
    for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += term(i + lane);
  for (size_t lane = 0; i + lane < dim; ++lane) sums[lane] += term(i + lane);
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

template <class Row, Metric metric>
void scan_float(const float* query, const std::byte* rows, size_t n, size_t dim, size_t stride, float* out) {
  for (size_t r = 0; r < n; ++r) {
    const std::byte* row = rows + r * stride;
    if constexpr (metric == Metric::l2) {
      out[r] = sum_of_terms(dim, [=](size_t i) {
        const float difference = query[i] - static_cast<float>(Row::load(row, i));
        return difference * difference;
      });
    } else {
      out[r] = 0 - sum_of_terms(dim, [=](size_t i) { return query[i] * static_cast<float>(Row::load(row, i)); });
    }
  }
}

template <class Row, Metric metric>
void scan_integer(const std::byte* query, const std::byte* rows, size_t n, size_t dim, size_t stride, float* out) {
  for (size_t r = 0; r < n; ++r) {
    const std::byte* row = rows + r * stride;
    int32_t sum = 0;
    for (size_t i = 0; i < dim; ++i) {
      const int q = Row::load(query, i), x = Row::load(row, i);
      sum += metric == Metric::l2 ? (q - x) * (q - x) : q * x;
    }
    out[r] = static_cast<float>(metric == Metric::l2 ? sum : -sum);
  }
}

void scan_sq8_l2(const float* offsets, const float* steps, const std::byte* codes, size_t n, size_t dim, size_t stride,
                 float* out) {
  for (size_t r = 0; r < n; ++r) {
    const std::byte* row = codes + r * stride;
    out[r] = sum_of_terms(dim, [=](size_t i) {
      const float difference = offsets[i] - steps[i] * static_cast<float>(Uint8::load(row, i));
      return difference * difference;
    });
  }
}

void encode_row(const float* row, const float* lower, const float* divisor, size_t dim, uint8_t* codes) {
  for (size_t i = 0; i < dim; ++i) {
    const float place = std::nearbyint((row[i] - lower[i]) / divisor[i]);
    codes[i] = place > 0 ? static_cast<uint8_t>(std::min(place, 255.0f)) : 0;  // NaN gives 0.
  }
}

void to_floats(const std::byte* halves, size_t n, float* out) {
  for (size_t i = 0; i < n; ++i) out[i] = Float16::load(halves, i);
}

void to_halves(const float* in, size_t n, std::byte* halves) {
  for (size_t i = 0; i < n; ++i) {
    const uint16_t half = float_to_half(in[i]);
    std::memcpy(halves + i * sizeof(half), &half, sizeof(half));
  }
}

void widen_bfloats(const std::byte* bfloats, size_t n, float* out) {
  for (size_t i = 0; i < n; ++i) {
    uint16_t value;
    std::memcpy(&value, bfloats + i * sizeof(value), sizeof(value));
    out[i] = std::bit_cast<float>(uint32_t{value} << 16);
  }
}

void scale_int8(const std::byte* codes, size_t n, float scale, float* out) {
  for (size_t i = 0; i < n; ++i) out[i] = scale * static_cast<float>(Int8::load(codes, i));
}

}  // namespace

const KernelTable kScalarKernels = {
    .float_query = {{scan_float<Float32, Metric::l2>, scan_float<Float32, Metric::inner_product>},
                    {scan_float<Float16, Metric::l2>, scan_float<Float16, Metric::inner_product>},
                    {scan_float<Uint8, Metric::l2>, scan_float<Uint8, Metric::inner_product>},
                    {scan_float<Int8, Metric::l2>, scan_float<Int8, Metric::inner_product>}},
    .uint8_query = {scan_integer<Uint8, Metric::l2>, scan_integer<Uint8, Metric::inner_product>},
    .int8_query = {scan_integer<Int8, Metric::l2>, scan_integer<Int8, Metric::inner_product>},
    .sq8_l2 = scan_sq8_l2,
    .sq8_encode_row = encode_row,
    .halves_to_floats = to_floats,
    .floats_to_halves = to_halves,
    .bfloats_to_floats = widen_bfloats,
    .scale_int8 = scale_int8,
};

}  // namespace outcrop::kernels
