// The kernels for AVX-512 (F, BW, DQ, VL, VNNI), built like avx2.cpp: rows one behind the other, four in the last
// reduction. Tails are masked loads, which read nothing outside the row.
#if defined(__x86_64__)

#include <immintrin.h>

#include "kernels/kernel_table.hpp"

// GCC 12 takes the registers that its own intrinsics leave undefined on purpose for a mistake (GCC bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

// See avx2.cpp for why each function carries its target.
#define OUTCROP_TARGET "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"
#define OUTCROP_AVX512 __attribute__((target(OUTCROP_TARGET)))
#define OUTCROP_AVX512_INLINE __attribute__((target(OUTCROP_TARGET), always_inline)) static inline

namespace outcrop::kernels {

namespace {

// ---- rows as floats, 16 elements at a time; lanes outside the mask are 0

struct Float32 {
  static constexpr size_t kBytes = 4;
  OUTCROP_AVX512_INLINE __m512 load(const std::byte* p) { return _mm512_loadu_ps(p); }
  OUTCROP_AVX512_INLINE __m512 load(const std::byte* p, __mmask16 mask) { return _mm512_maskz_loadu_ps(mask, p); }
};
struct Float16 {
  static constexpr size_t kBytes = 2;
  OUTCROP_AVX512_INLINE __m512 load(const std::byte* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  OUTCROP_AVX512_INLINE __m512 load(const std::byte* p, __mmask16 mask) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, p));
  }
};
struct Uint8 {
  static constexpr size_t kBytes = 1;
  OUTCROP_AVX512_INLINE __m512 load(const std::byte* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  OUTCROP_AVX512_INLINE __m512 load(const std::byte* p, __mmask16 mask) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, p)));
  }
};
struct Int8 {
  static constexpr size_t kBytes = 1;
  OUTCROP_AVX512_INLINE __m512 load(const std::byte* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  OUTCROP_AVX512_INLINE __m512 load(const std::byte* p, __mmask16 mask) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(mask, p)));
  }
};

OUTCROP_AVX512_INLINE __mmask16 first_lanes_16(size_t count) { return static_cast<__mmask16>((1u << count) - 1); }
OUTCROP_AVX512_INLINE __mmask64 first_lanes_64(size_t count) { return (1ull << count) - 1; }

// ---- kernels with a float query: four sums a row, to hide the latency of fma

template <class Row, Metric metric>
struct FloatStep {
  static constexpr size_t kRowBytes = Row::kBytes;
  struct Part {
    __m512 q;
  };
  const float* query;
  OUTCROP_AVX512 inline Part part(size_t i) const { return {_mm512_loadu_ps(query + i)}; }
  OUTCROP_AVX512 inline Part part(size_t i, __mmask16 mask) const { return {_mm512_maskz_loadu_ps(mask, query + i)}; }
  OUTCROP_AVX512_INLINE __m512 load(const std::byte* p) { return Row::load(p); }
  OUTCROP_AVX512_INLINE __m512 load(const std::byte* p, __mmask16 mask) { return Row::load(p, mask); }
  OUTCROP_AVX512_INLINE __m512 add(__m512 sum, const Part& part, __m512 x) {
    if constexpr (metric == Metric::inner_product) return _mm512_fmadd_ps(part.q, x, sum);
    const __m512 difference = _mm512_sub_ps(part.q, x);
    return _mm512_fmadd_ps(difference, difference, sum);
  }
};

struct Sq8Step {
  static constexpr size_t kRowBytes = 1;
  struct Part {
    __m512 offset, step;
  };
  const float* offsets;
  const float* steps;
  OUTCROP_AVX512 inline Part part(size_t i) const { return {_mm512_loadu_ps(offsets + i), _mm512_loadu_ps(steps + i)}; }
  OUTCROP_AVX512 inline Part part(size_t i, __mmask16 mask) const {
    return {_mm512_maskz_loadu_ps(mask, offsets + i), _mm512_maskz_loadu_ps(mask, steps + i)};
  }
  OUTCROP_AVX512_INLINE __m512 load(const std::byte* p) { return Uint8::load(p); }
  OUTCROP_AVX512_INLINE __m512 load(const std::byte* p, __mmask16 mask) { return Uint8::load(p, mask); }
  OUTCROP_AVX512_INLINE __m512 add(__m512 sum, const Part& part, __m512 c) {
    const __m512 difference = _mm512_fnmadd_ps(part.step, c, part.offset);
    return _mm512_fmadd_ps(difference, difference, sum);
  }
};

OUTCROP_AVX512_INLINE __m256 halve(__m512 x) {
  return _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
}
OUTCROP_AVX512_INLINE __m256i halve(__m512i x) {
  return _mm256_add_epi32(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64(x, 1));
}

OUTCROP_AVX512_INLINE __m128 reduce(__m512 a, __m512 b, __m512 c, __m512 d) {
  const __m256 all = _mm256_hadd_ps(_mm256_hadd_ps(halve(a), halve(b)), _mm256_hadd_ps(halve(c), halve(d)));
  return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}
OUTCROP_AVX512_INLINE __m128i reduce(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m256i all = _mm256_hadd_epi32(_mm256_hadd_epi32(halve(a), halve(b)), _mm256_hadd_epi32(halve(c), halve(d)));
  return _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
}

template <class Step>
OUTCROP_AVX512_INLINE __m512 sum_row(const Step& step, const std::byte* row, size_t dim) {
  constexpr size_t kWidth = 16, kBytes = Step::kRowBytes;
  __m512 sums[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
  size_t i = 0;
  for (; i + 4 * kWidth <= dim; i += 4 * kWidth)
    for (size_t s = 0; s < 4; ++s)
      sums[s] = Step::add(sums[s], step.part(i + s * kWidth), Step::load(row + (i + s * kWidth) * kBytes));
  for (size_t s = 0; s < 3 && i + kWidth <= dim; ++s, i += kWidth)
    sums[s] = Step::add(sums[s], step.part(i), Step::load(row + i * kBytes));
  if (i < dim) {
    const __mmask16 mask = first_lanes_16(dim - i);
    sums[3] = Step::add(sums[3], step.part(i, mask), Step::load(row + i * kBytes, mask));
  }
  return _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3]));
}

template <Metric metric, class Step>
OUTCROP_AVX512_INLINE void scan(const Step& step, const std::byte* rows, size_t n, size_t dim, size_t stride,
                                float* out) {
  const auto sum = [&](size_t r) OUTCROP_AVX512 { return sum_row(step, rows + r * stride, dim); };
  const auto nearer = [](__m128 sums)
                          OUTCROP_AVX512 { return metric == Metric::l2 ? sums : _mm_sub_ps(_mm_setzero_ps(), sums); };
  const __m512 zero = _mm512_setzero_ps();
  size_t r = 0;
  for (; r + 4 <= n; r += 4) {
    const auto first = sum(r), second = sum(r + 1), third = sum(r + 2), fourth = sum(r + 3);
    _mm_storeu_ps(out + r, nearer(reduce(first, second, third, fourth)));
  }
  for (; r < n; ++r) _mm_store_ss(out + r, nearer(reduce(sum(r), zero, zero, zero)));
}

template <class Row, Metric metric>
OUTCROP_AVX512 void scan_float(const float* query, const std::byte* rows, size_t n, size_t dim, size_t stride,
                               float* out) {
  scan<metric>(FloatStep<Row, metric>{query}, rows, n, dim, stride, out);
}

OUTCROP_AVX512 void scan_sq8_l2(const float* offsets, const float* steps, const std::byte* codes, size_t n, size_t dim,
                                size_t stride, float* out) {
  scan<Metric::l2>(Sq8Step{offsets, steps}, codes, n, dim, stride, out);
}

// ---- integer kernels
//
// vpdpbusd multiplies unsigned by signed bytes. Write u for an element as 0..255 and s = u - 128 for the same one as
// -128..127; uint8 data holds u and int8 data holds s, and a flip of the top bit turns one into the other. For int8 the
// L2 distance of the s equals that of the u. With the sums A = x_u . x_s, B = x_u . q_s and S = sum of x_u:
//   L2           |x_u - q_u|^2 = A - 2 B - 128 S + |q_u|^2
//   uint8 product  x_u . q_u   = B + 128 S
//   int8 product   x_s . q_s   = B - 128 * sum of q_s
// All is modulo 2^32; the results themselves fit an int32 up to kMaxDim. No step saturates.

template <bool is_signed>
struct Bytes {
  // Lanes outside the mask get u = 0, which adds nothing to A, B or S.
  OUTCROP_AVX512_INLINE __m512i load_u(const std::byte* p, __mmask64 mask) {
    const __m512i x = _mm512_maskz_loadu_epi8(mask, p);
    return is_signed ? _mm512_xor_si512(x, _mm512_maskz_set1_epi8(mask, -128)) : x;
  }
  OUTCROP_AVX512_INLINE __m512i load_u(const std::byte* p) {
    const __m512i x = _mm512_loadu_si512(p);
    return is_signed ? flip(x) : x;
  }
  OUTCROP_AVX512_INLINE __m512i flip(__m512i x) { return _mm512_xor_si512(x, _mm512_set1_epi8(-128)); }
};

template <bool is_signed, Metric metric>
struct IntegerStep {
  using Row = Bytes<is_signed>;
  struct Sums {
    __m512i plus, minus;
  };
  OUTCROP_AVX512_INLINE void add(Sums& sums, __m512i q_s, __m512i x_u) {
    if constexpr (metric == Metric::l2) {
      sums.plus = _mm512_dpbusd_epi32(sums.plus, x_u, Row::flip(x_u));
      sums.minus = _mm512_dpbusd_epi32(sums.minus, x_u, q_s);  // B + 64 S, twice which is subtracted.
      sums.minus = _mm512_dpbusd_epi32(sums.minus, x_u, _mm512_set1_epi8(64));
    } else {
      sums.plus = _mm512_dpbusd_epi32(sums.plus, x_u, q_s);
      if constexpr (!is_signed) sums.minus = _mm512_dpbusd_epi32(sums.minus, x_u, _mm512_set1_epi8(-128));
    }
  }
  OUTCROP_AVX512_INLINE __m512i total(const Sums& sums) {
    if constexpr (metric == Metric::l2) return _mm512_sub_epi32(sums.plus, _mm512_add_epi32(sums.minus, sums.minus));
    return _mm512_sub_epi32(sums.plus, sums.minus);
  }
  // What depends on the query alone.
  OUTCROP_AVX512_INLINE int32_t constant(const std::byte* query, size_t dim) {
    uint32_t sum = 0;
    for (size_t i = 0; i < dim; ++i) {
      const int value = is_signed ? static_cast<int8_t>(query[i]) : static_cast<int>(query[i]);
      const int q_u = is_signed ? value + 128 : value;
      if constexpr (metric == Metric::l2) sum += static_cast<uint32_t>(q_u * q_u);
      if constexpr (metric == Metric::inner_product && is_signed) sum -= static_cast<uint32_t>(128 * value);
    }
    return static_cast<int32_t>(sum);
  }
};

template <class Step>
OUTCROP_AVX512_INLINE __m512i sum_bytes(const std::byte* query, const std::byte* row, size_t dim) {
  using Row = typename Step::Row;
  typename Step::Sums sums{_mm512_setzero_si512(), _mm512_setzero_si512()};
  size_t i = 0;
  for (; i + 64 <= dim; i += 64) Step::add(sums, Row::flip(Row::load_u(query + i)), Row::load_u(row + i));
  if (i < dim) {
    const __mmask64 mask = first_lanes_64(dim - i);
    Step::add(sums, Row::flip(Row::load_u(query + i, mask)), Row::load_u(row + i, mask));
  }
  return Step::total(sums);
}

template <bool is_signed, Metric metric>
OUTCROP_AVX512 void scan_bytes(const std::byte* query, const std::byte* rows, size_t n, size_t dim, size_t stride,
                               float* out) {
  using Step = IntegerStep<is_signed, metric>;
  const __m128i constant = _mm_set1_epi32(Step::constant(query, dim));
  const __m512i zero = _mm512_setzero_si512();
  const auto sum = [=](size_t r) OUTCROP_AVX512 { return sum_bytes<Step>(query, rows + r * stride, dim); };
  const auto finish = [constant](__m128i sums) OUTCROP_AVX512 {
    const __m128i exact = _mm_add_epi32(sums, constant);
    return _mm_cvtepi32_ps(metric == Metric::l2 ? exact : _mm_sub_epi32(_mm_setzero_si128(), exact));
  };
  size_t r = 0;
  for (; r + 4 <= n; r += 4) {
    const auto first = sum(r), second = sum(r + 1), third = sum(r + 2), fourth = sum(r + 3);
    _mm_storeu_ps(out + r, finish(reduce(first, second, third, fourth)));
  }
  for (; r < n; ++r) _mm_store_ss(out + r, finish(reduce(sum(r), zero, zero, zero)));
}

// ---- whole rows, element by element

OUTCROP_AVX512 void encode_row(const float* row, const float* lower, const float* divisor, size_t dim, uint8_t* codes) {
  for (size_t i = 0; i < dim; i += 16) {
    const __mmask16 mask = dim - i < 16 ? first_lanes_16(dim - i) : static_cast<__mmask16>(0xffff);
    const __m512 offset = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, row + i), _mm512_maskz_loadu_ps(mask, lower + i));
    const __m512 place = _mm512_div_ps(offset, _mm512_mask_loadu_ps(_mm512_set1_ps(1), mask, divisor + i));
    // max returns its second operand when the first is NaN.
    const __m512 held = _mm512_min_ps(_mm512_max_ps(place, _mm512_setzero_ps()), _mm512_set1_ps(255));
    _mm_mask_storeu_epi8(codes + i, mask, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(held)));  // Rounds to nearest even.
  }
}

OUTCROP_AVX512 void to_floats(const std::byte* halves, size_t n, float* out) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16) _mm512_storeu_ps(out + i, Float16::load(halves + i * 2));
  const __mmask16 mask = first_lanes_16(n - i);
  _mm512_mask_storeu_ps(out + i, mask, Float16::load(halves + i * 2, mask));
}

OUTCROP_AVX512 void to_halves(const float* in, size_t n, std::byte* halves) {
  for (size_t i = 0; i < n; i += 16) {
    const __mmask16 mask = n - i < 16 ? first_lanes_16(n - i) : static_cast<__mmask16>(0xffff);
    const __m512 values = _mm512_maskz_loadu_ps(mask, in + i);
    _mm256_mask_storeu_epi16(halves + i * 2, mask,
                             _mm512_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
}

OUTCROP_AVX512 void widen_bfloats(const std::byte* bfloats, size_t n, float* out) {
  for (size_t i = 0; i < n; i += 16) {
    const __mmask16 mask = n - i < 16 ? first_lanes_16(n - i) : static_cast<__mmask16>(0xffff);
    const __m256i halves = _mm256_maskz_loadu_epi16(mask, bfloats + i * 2);
    _mm512_mask_storeu_ps(out + i, mask, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16)));
  }
}

OUTCROP_AVX512 void scale_int8(const std::byte* codes, size_t n, float scale, float* out) {
  const __m512 scales = _mm512_set1_ps(scale);
  for (size_t i = 0; i < n; i += 16) {
    const __mmask16 mask = n - i < 16 ? first_lanes_16(n - i) : static_cast<__mmask16>(0xffff);
    _mm512_mask_storeu_ps(out + i, mask, _mm512_mul_ps(scales, Int8::load(codes + i, mask)));
  }
}

}  // namespace

const KernelTable kAvx512Kernels = {
    .float_query = {{scan_float<Float32, Metric::l2>, scan_float<Float32, Metric::inner_product>},
                    {scan_float<Float16, Metric::l2>, scan_float<Float16, Metric::inner_product>},
                    {scan_float<Uint8, Metric::l2>, scan_float<Uint8, Metric::inner_product>},
                    {scan_float<Int8, Metric::l2>, scan_float<Int8, Metric::inner_product>}},
    .uint8_query = {scan_bytes<false, Metric::l2>, scan_bytes<false, Metric::inner_product>},
    .int8_query = {scan_bytes<true, Metric::l2>, scan_bytes<true, Metric::inner_product>},
    .sq8_l2 = scan_sq8_l2,
    .sq8_encode_row = encode_row,
    .halves_to_floats = to_floats,
    .floats_to_halves = to_halves,
    .bfloats_to_floats = widen_bfloats,
    .scale_int8 = scale_int8,
};

}  // namespace outcrop::kernels

#endif
