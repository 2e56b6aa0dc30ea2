#include "tiers/row_copy.hpp"

#include <algorithm>
#include <cstring>

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

namespace outcrop {
namespace {

constexpr size_t kLine = 64;

// Rows are prefetched so far ahead that about this many bytes are on their way (measured: 2 to 8 KiB do equally well),
// and of a long row its begin only, since the hardware follows a stream by itself.
constexpr size_t kBytesAhead = 4096;
constexpr size_t kPrefetchedBytes = 1024;
constexpr size_t kMostRowsAhead = 64;

size_t rows_ahead(size_t row_bytes) { return std::clamp<size_t>(kBytesAhead / row_bytes, 1, kMostRowsAhead); }

inline void prefetch_row(const std::byte* row, size_t row_bytes) {
  const size_t n = std::min(row_bytes, kPrefetchedBytes);
  for (size_t i = 0; i < n; i += kLine) __builtin_prefetch(row + i, 0, 0);
}

struct PlainCopy {
  static void copy(std::byte* to, const std::byte* from, size_t bytes) { std::memcpy(to, from, bytes); }
  static void finish() {}
};

#if defined(__x86_64__)
// Whole lines of the target are written around the caches: a line that is read before it is overwritten costs as much
// bandwidth as the copy itself. Measured against memcpy: 8.9 and 7.8 GB/s gathering, 9.0 and 4.7 GB/s inserting.
struct StreamingCopy {
  static void copy(std::byte* to, const std::byte* from, size_t bytes) {
    const size_t head = std::min((kLine - reinterpret_cast<size_t>(to) % kLine) % kLine, bytes);
    if (head != 0) std::memcpy(to, from, head);
    const size_t lines_end = head + (bytes - head) / kLine * kLine;
    for (size_t i = head; i < lines_end; i += kLine)
      for (size_t k = i; k < i + kLine; k += 16)
        _mm_stream_si128(reinterpret_cast<__m128i*>(to + k),
                         _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + k)));
    if (lines_end != bytes) std::memcpy(to + lines_end, from + lines_end, bytes - lines_end);
  }
  // Other threads read the rows: what is still in the write-combining buffers must come first.
  static void finish() { _mm_sfence(); }
};
#else
using StreamingCopy = PlainCopy;
#endif

// A length known to the compiler makes the copy of a short row a few moves instead of a call.
template <class Copy, size_t kRowBytes>
struct FixedCopy {
  static void copy(std::byte* to, const std::byte* from, size_t) { Copy::copy(to, from, kRowBytes); }
  static void finish() { Copy::finish(); }
};

// from(i) and to(i) are the addresses of the i-th row.
template <class Copy, class From, class To>
void copy_rows(size_t n, size_t row_bytes, const From& from, const To& to) {
  const size_t ahead = rows_ahead(row_bytes);
  for (size_t i = 0; i < n; ++i) {
    if (i + ahead < n) prefetch_row(from(i + ahead), row_bytes);
    Copy::copy(to(i), from(i), row_bytes);
  }
  Copy::finish();
}

template <class From, class To>
void copy_rows(size_t n, size_t row_bytes, bool streaming, const From& from, const To& to) {
  // A row below two lines seldom holds a whole one at a place that is aligned.
  if (streaming && row_bytes >= 2 * kLine) return copy_rows<StreamingCopy>(n, row_bytes, from, to);
  switch (row_bytes) {
    case 4:
      return copy_rows<FixedCopy<PlainCopy, 4>>(n, row_bytes, from, to);
    case 8:
      return copy_rows<FixedCopy<PlainCopy, 8>>(n, row_bytes, from, to);
    case 16:
      return copy_rows<FixedCopy<PlainCopy, 16>>(n, row_bytes, from, to);
    case 32:
      return copy_rows<FixedCopy<PlainCopy, 32>>(n, row_bytes, from, to);
    case 64:
      return copy_rows<FixedCopy<PlainCopy, 64>>(n, row_bytes, from, to);
    default:
      return copy_rows<PlainCopy>(n, row_bytes, from, to);
  }
}

}  // namespace

void gather_rows(const RowSlab& slab, std::span<const uint32_t> slots, std::span<const uint32_t> rows,
                 std::byte* tensor, bool streaming) {
  const size_t row_bytes = slab.row_bytes();
  copy_rows(
      slots.size(), row_bytes, streaming, [&](size_t i) { return slab.row(slots[i]); },
      [&](size_t i) { return tensor + rows[i] * row_bytes; });
}

void gather_decoded_rows(const RowSlab& slab, std::span<const uint32_t> slots, std::span<const uint32_t> rows,
                         const RowFormat& format, float* tensor) {
  const size_t ahead = rows_ahead(format.row_bytes), dim = format.dim();
  for (size_t i = 0; i < slots.size(); ++i) {
    if (i + ahead < slots.size()) prefetch_row(slab.row(slots[i + ahead]), format.row_bytes);
    decode_rows(format, slab.row(slots[i]), 1, format.row_bytes, tensor + rows[i] * dim);
  }
}

void insert_rows(RowSlab& slab, std::span<const uint32_t> slots, std::span<const uint32_t> rows,
                 const std::byte* tensor, bool streaming) {
  const size_t row_bytes = slab.row_bytes();
  copy_rows(
      slots.size(), row_bytes, streaming, [&](size_t i) { return tensor + rows[i] * row_bytes; },
      [&](size_t i) { return slab.row(slots[i]); });
}

}  // namespace outcrop
