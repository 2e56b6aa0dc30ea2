// Coded rows of feature tables and what they decode to. A row is `row_bytes` long and has no alignment of its own:
//
//   raw       the caller's bytes, of any type; not decoded
//   float16   IEEE binary16, dim values
//   bfloat16  the upper half of a binary32, dim values
//   int8      dim values of a byte, then a float32 scale: value_i = scale * byte_i
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "kernels/dispatch.hpp"

namespace outcrop {

enum class RowCodec : uint8_t { raw, float16, bfloat16, int8 };

const char* to_string(RowCodec codec);
RowCodec parse_row_codec(std::string_view name);  // throws InvalidArgument

struct RowFormat {
  RowCodec codec = RowCodec::raw;
  uint64_t row_bytes = 0;

  bool decodes() const { return codec != RowCodec::raw; }
  uint64_t dim() const;  // values of a row; 0 for raw rows, whose type is not known here
};

// Throws InvalidArgument when no row of the codec is that long.
RowFormat row_format(RowCodec codec, uint64_t row_bytes);

// Row i from rows + i * stride to out + i * dim(). All variants give the same bits. The codec must not be raw.
void decode_rows(const RowFormat& format, const std::byte* rows, size_t n, size_t stride, float* out,
                 Isa isa = active_isa());

}  // namespace outcrop
