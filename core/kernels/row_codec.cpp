#include "kernels/row_codec.hpp"

#include <cassert>
#include <cstring>
#include <string>

#include "error.hpp"
#include "kernels/kernel_table.hpp"

namespace outcrop {
namespace {

constexpr RowCodec kAll[] = {RowCodec::raw, RowCodec::float16, RowCodec::bfloat16, RowCodec::int8};

void decode_row(const kernels::KernelTable& table, RowCodec codec, const std::byte* row, size_t dim, float* out) {
  float scale;
  switch (codec) {
    case RowCodec::raw:
      assert(false);
      break;
    case RowCodec::float16:
      table.halves_to_floats(row, dim, out);
      break;
    case RowCodec::bfloat16:
      table.bfloats_to_floats(row, dim, out);
      break;
    case RowCodec::int8:
      std::memcpy(&scale, row + dim, sizeof scale);
      table.scale_int8(row, dim, scale, out);
      break;
  }
}

}  // namespace

const char* to_string(RowCodec codec) {
  switch (codec) {
    case RowCodec::raw:
      return "raw";
    case RowCodec::float16:
      return "float16";
    case RowCodec::bfloat16:
      return "bfloat16";
    case RowCodec::int8:
      return "int8";
  }
  return "unknown";
}

RowCodec parse_row_codec(std::string_view name) {
  for (RowCodec codec : kAll)
    if (name == to_string(codec)) return codec;
  throw InvalidArgument("row codec: expected raw, float16, bfloat16 or int8, found '" + std::string(name) + "'");
}

uint64_t RowFormat::dim() const {
  if (codec == RowCodec::raw) return 0;
  return codec == RowCodec::int8 ? row_bytes - sizeof(float) : row_bytes / 2;
}

RowFormat row_format(RowCodec codec, uint64_t row_bytes) {
  const bool fits = codec == RowCodec::raw    ? row_bytes >= 1
                    : codec == RowCodec::int8 ? row_bytes > sizeof(float)
                                              : row_bytes >= 2 && row_bytes % 2 == 0;
  if (!fits)
    throw InvalidArgument(std::string("row codec ") + to_string(codec) + ": no row of it is " +
                          std::to_string(row_bytes) + " bytes long");
  return {codec, row_bytes};
}

void decode_rows(const RowFormat& format, const std::byte* rows, size_t n, size_t stride, float* out, Isa isa) {
  const kernels::KernelTable& table = kernels::kernel_table(isa);
  const size_t dim = format.dim();
  for (size_t i = 0; i < n; ++i) decode_row(table, format.codec, rows + i * stride, dim, out + i * dim);
}

}  // namespace outcrop
