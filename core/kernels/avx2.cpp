// The kernels for AVX2 + FMA + F16C. Rows are read strictly one behind the other, which is what hardware prefetchers
// follow: four rows side by side save loads of the query, but rows that no cache holds then come at a third of the
// speed (bench/kernels). Only the last reduction takes four rows at once; a row goes through the same operations in the
// same order wherever it stands.
#if defined(__x86_64__)

#include <immintrin.h>

#include <cstring>

#include "kernels/kernel_table.hpp"

// Functions carry their target one by one: an option for the whole file would also reach inline functions of the
// standard library, and the linker may keep that copy for CPUs that lack AVX2.
#define OUTCROP_AVX2 __attribute__((target("avx2,fma,f16c")))
#define OUTCROP_AVX2_INLINE __attribute__((target("avx2,fma,f16c"), always_inline)) static inline

namespace outcrop::kernels {

namespace {

// ---- rows as floats, 8 elements at a time

struct Float32 {
  static constexpr size_t kBytes = 4;
  OUTCROP_AVX2_INLINE __m256 load(const std::byte* p) { return _mm256_loadu_ps(reinterpret_cast<const float*>(p)); }
};
struct Float16 {
  static constexpr size_t kBytes = 2;
  OUTCROP_AVX2_INLINE __m256 load(const std::byte* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
};
struct Uint8 {
  static constexpr size_t kBytes = 1;
  OUTCROP_AVX2_INLINE __m256 load(const std::byte* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  OUTCROP_AVX2_INLINE __m256i load_words(const std::byte* p) {
    return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
};
struct Int8 {
  static constexpr size_t kBytes = 1;
  OUTCROP_AVX2_INLINE __m256 load(const std::byte* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  OUTCROP_AVX2_INLINE __m256i load_words(const std::byte* p) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
};

// ---- one step of each kernel. A step sees a query of several streams; tails are copied into zeroed buffers first, and
// zeros add nothing to any of these sums.

template <class Row, Metric metric>
struct FloatStep {
  using Sum = __m256;
  static constexpr size_t kWidth = 8;
  static constexpr size_t kRowBytes = Row::kBytes;
  struct Part {
    __m256 q;
  };
  const float* query;
  OUTCROP_AVX2_INLINE Sum zero() { return _mm256_setzero_ps(); }
  OUTCROP_AVX2 inline Part part(size_t i) const { return {_mm256_loadu_ps(query + i)}; }
  OUTCROP_AVX2 inline Part tail(size_t i, size_t count) const {
    float padded[kWidth] = {};
    std::memcpy(padded, query + i, count * sizeof(float));
    return {_mm256_loadu_ps(padded)};
  }
  OUTCROP_AVX2_INLINE Sum add(Sum sum, const Part& part, const std::byte* p) {
    const __m256 x = Row::load(p);
    if constexpr (metric == Metric::inner_product) return _mm256_fmadd_ps(part.q, x, sum);
    const __m256 difference = _mm256_sub_ps(part.q, x);
    return _mm256_fmadd_ps(difference, difference, sum);
  }
};

struct Sq8Step {
  using Sum = __m256;
  static constexpr size_t kWidth = 8;
  static constexpr size_t kRowBytes = 1;
  struct Part {
    __m256 offset, step;
  };
  const float* offsets;
  const float* steps;
  OUTCROP_AVX2_INLINE Sum zero() { return _mm256_setzero_ps(); }
  OUTCROP_AVX2 inline Part part(size_t i) const { return {_mm256_loadu_ps(offsets + i), _mm256_loadu_ps(steps + i)}; }
  OUTCROP_AVX2 inline Part tail(size_t i, size_t count) const {
    float padded[2][kWidth] = {};
    std::memcpy(padded[0], offsets + i, count * sizeof(float));
    std::memcpy(padded[1], steps + i, count * sizeof(float));
    return {_mm256_loadu_ps(padded[0]), _mm256_loadu_ps(padded[1])};
  }
  OUTCROP_AVX2_INLINE Sum add(Sum sum, const Part& part, const std::byte* p) {
    const __m256 difference = _mm256_fnmadd_ps(part.step, Uint8::load(p), part.offset);
    return _mm256_fmadd_ps(difference, difference, sum);
  }
};

template <class Row, Metric metric>
struct IntegerStep {
  using Sum = __m256i;
  static constexpr size_t kWidth = 16;
  static constexpr size_t kRowBytes = 1;
  struct Part {
    __m256i q;
  };
  const std::byte* query;
  OUTCROP_AVX2_INLINE Sum zero() { return _mm256_setzero_si256(); }
  OUTCROP_AVX2 inline Part part(size_t i) const { return {Row::load_words(query + i)}; }
  OUTCROP_AVX2 inline Part tail(size_t i, size_t count) const {
    std::byte padded[kWidth] = {};
    std::memcpy(padded, query + i, count);
    return {Row::load_words(padded)};
  }
  OUTCROP_AVX2_INLINE Sum add(Sum sum, const Part& part, const std::byte* p) {
    const __m256i x = Row::load_words(p);
    if constexpr (metric == Metric::inner_product) return _mm256_add_epi32(sum, _mm256_madd_epi16(part.q, x));
    const __m256i difference = _mm256_sub_epi16(part.q, x);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(difference, difference));
  }
};

// ---- sums of four rows to four floats

OUTCROP_AVX2_INLINE __m256 add_sums(__m256 a, __m256 b) { return _mm256_add_ps(a, b); }
OUTCROP_AVX2_INLINE __m256i add_sums(__m256i a, __m256i b) { return _mm256_add_epi32(a, b); }

OUTCROP_AVX2_INLINE __m128 reduce(__m256 a, __m256 b, __m256 c, __m256 d) {
  const __m256 all = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}
OUTCROP_AVX2_INLINE __m128 reduce(__m256i a, __m256i b, __m256i c, __m256i d) {
  const __m256i all = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
  return _mm_cvtepi32_ps(_mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1)));
}

// ---- the loops

template <class Step>
OUTCROP_AVX2_INLINE typename Step::Sum sum_row(const Step& step, const std::byte* row, size_t dim) {
  constexpr size_t kWidth = Step::kWidth, kBytes = Step::kRowBytes;
  typename Step::Sum sums[4] = {Step::zero(), Step::zero(), Step::zero(), Step::zero()};
  size_t i = 0;
  for (; i + 4 * kWidth <= dim; i += 4 * kWidth)
    for (size_t s = 0; s < 4; ++s)
      sums[s] = Step::add(sums[s], step.part(i + s * kWidth), row + (i + s * kWidth) * kBytes);
  for (size_t s = 0; s < 3 && i + kWidth <= dim; ++s, i += kWidth)
    sums[s] = Step::add(sums[s], step.part(i), row + i * kBytes);
  if (i < dim) {
    std::byte padded[kWidth * kBytes] = {};
    std::memcpy(padded, row + i * kBytes, (dim - i) * kBytes);
    sums[3] = Step::add(sums[3], step.tail(i, dim - i), padded);
  }
  return add_sums(add_sums(sums[0], sums[1]), add_sums(sums[2], sums[3]));
}

template <Metric metric>
OUTCROP_AVX2_INLINE __m128 smaller_is_nearer(__m128 sums) {
  return metric == Metric::l2 ? sums : _mm_sub_ps(_mm_setzero_ps(), sums);
}

template <Metric metric, class Step>
OUTCROP_AVX2_INLINE void scan(const Step& step, const std::byte* rows, size_t n, size_t dim, size_t stride,
                              float* out) {
  const auto sum = [&](size_t r) OUTCROP_AVX2 { return sum_row(step, rows + r * stride, dim); };
  size_t r = 0;
  for (; r + 4 <= n; r += 4) {
    // Named, for the order: the arguments of one call are evaluated backwards by some compilers.
    const auto first = sum(r), second = sum(r + 1), third = sum(r + 2), fourth = sum(r + 3);
    _mm_storeu_ps(out + r, smaller_is_nearer<metric>(reduce(first, second, third, fourth)));
  }
  for (; r < n; ++r)
    _mm_store_ss(out + r, smaller_is_nearer<metric>(reduce(sum(r), Step::zero(), Step::zero(), Step::zero())));
}

template <class Row, Metric metric>
OUTCROP_AVX2 void scan_float(const float* query, const std::byte* rows, size_t n, size_t dim, size_t stride,
                             float* out) {
  scan<metric>(FloatStep<Row, metric>{query}, rows, n, dim, stride, out);
}

template <class Row, Metric metric>
OUTCROP_AVX2 void scan_integer(const std::byte* query, const std::byte* rows, size_t n, size_t dim, size_t stride,
                               float* out) {
  scan<metric>(IntegerStep<Row, metric>{query}, rows, n, dim, stride, out);
}

OUTCROP_AVX2 void scan_sq8_l2(const float* offsets, const float* steps, const std::byte* codes, size_t n, size_t dim,
                              size_t stride, float* out) {
  scan<Metric::l2>(Sq8Step{offsets, steps}, codes, n, dim, stride, out);
}

// ---- whole rows, element by element

OUTCROP_AVX2_INLINE __m128i encode_8(const float* row, const float* lower, const float* divisor) {
  const __m256 offset = _mm256_sub_ps(_mm256_loadu_ps(row), _mm256_loadu_ps(lower));
  const __m256 place = _mm256_div_ps(offset, _mm256_loadu_ps(divisor));
  // max returns its second operand when the first is NaN.
  const __m256 held = _mm256_min_ps(_mm256_max_ps(place, _mm256_setzero_ps()), _mm256_set1_ps(255));
  const __m256i codes = _mm256_cvtps_epi32(held);  // Rounds to nearest even.
  const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256(codes, 1));
  return _mm_packus_epi16(words, words);
}

OUTCROP_AVX2 void encode_row(const float* row, const float* lower, const float* divisor, size_t dim, uint8_t* codes) {
  size_t i = 0;
  for (; i + 8 <= dim; i += 8)
    _mm_storel_epi64(reinterpret_cast<__m128i*>(codes + i), encode_8(row + i, lower + i, divisor + i));
  kScalarKernels.sq8_encode_row(row + i, lower + i, divisor + i, dim - i, codes + i);
}

OUTCROP_AVX2 void to_floats(const std::byte* halves, size_t n, float* out) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) _mm256_storeu_ps(out + i, Float16::load(halves + i * 2));
  kScalarKernels.halves_to_floats(halves + i * 2, n - i, out + i);
}

OUTCROP_AVX2 void to_halves(const float* in, size_t n, std::byte* halves) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(halves + i * 2),
                     _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  kScalarKernels.floats_to_halves(in + i, n - i, halves + i * 2);
}

OUTCROP_AVX2 void widen_bfloats(const std::byte* bfloats, size_t n, float* out) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bfloats + i * 2));
    _mm256_storeu_ps(out + i, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16)));
  }
  kScalarKernels.bfloats_to_floats(bfloats + i * 2, n - i, out + i);
}

OUTCROP_AVX2 void scale_int8(const std::byte* codes, size_t n, float scale, float* out) {
  const __m256 scales = _mm256_set1_ps(scale);
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + i));
    _mm256_storeu_ps(out + i, _mm256_mul_ps(scales, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))));
  }
  kScalarKernels.scale_int8(codes + i, n - i, scale, out + i);
}

}  // namespace

const KernelTable kAvx2Kernels = {
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

#endif
