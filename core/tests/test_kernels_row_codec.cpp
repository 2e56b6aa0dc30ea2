#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "error.hpp"
#include "kernels/half.hpp"
#include "kernels/row_codec.hpp"
#include "tests/check.hpp"
#include "tests/io_files.hpp"

namespace outcrop::testing {
namespace {

constexpr Isa kIsas[] = {Isa::scalar, Isa::avx2, Isa::avx512};

// By the definition of each codec, value by value. NaN is compared by its bits.
float expected_value(RowCodec codec, const std::byte* row, size_t dim, size_t i) {
  if (codec == RowCodec::int8) {
    float scale;
    std::memcpy(&scale, row + dim, sizeof scale);
    return scale * static_cast<float>(static_cast<int8_t>(row[i]));
  }
  uint16_t half;
  std::memcpy(&half, row + 2 * i, sizeof half);
  return codec == RowCodec::float16 ? half_to_float(half) : std::bit_cast<float>(uint32_t{half} << 16);
}

// The first 4 bytes behind int8 values are a float: any finite one.
void put_scales(Bytes& rows, size_t n, size_t stride, size_t dim) {
  for (size_t r = 0; r < n; ++r) {
    const float scale = std::ldexp(1.0f + static_cast<float>(r) / 7, static_cast<int>(r) - 3);
    std::memcpy(rows.data() + r * stride + dim, &scale, sizeof scale);
  }
}

TEST(every_codec_decodes_to_the_bits_of_its_definition_on_every_instruction_set) {
  for (const RowCodec codec : {RowCodec::float16, RowCodec::bfloat16, RowCodec::int8})
    for (size_t dim : {1, 2, 7, 8, 15, 16, 17, 33, 128, 131}) {
      const RowFormat format = row_format(codec, codec == RowCodec::int8 ? dim + 4 : 2 * dim);
      CHECK_EQUAL(format.dim(), dim);
      const size_t n = 5, stride = format.row_bytes + 3;
      Bytes rows = random_bytes(n * stride, dim);
      if (codec == RowCodec::int8) put_scales(rows, n, stride, dim);
      std::vector<float> expected(n * dim);
      for (size_t r = 0; r < n; ++r)
        for (size_t i = 0; i < dim; ++i)
          expected[r * dim + i] = expected_value(codec, rows.data() + r * stride, dim, i);
      for (const Isa isa : kIsas) {
        if (!isa_supported(isa)) continue;
        std::vector<float> found(n * dim);
        decode_rows(format, rows.data(), n, stride, found.data(), isa);
        for (size_t i = 0; i < found.size(); ++i) {
          if (std::isnan(expected[i]) && codec == RowCodec::float16)
            CHECK(std::isnan(found[i]));
          else
            CHECK(std::memcmp(&found[i], &expected[i], sizeof(float)) == 0);
        }
      }
    }
}

TEST(row_formats_refuse_lengths_that_no_row_of_the_codec_has) {
  CHECK_THROWS(row_format(RowCodec::raw, 0), InvalidArgument, "0 bytes");
  CHECK_THROWS(row_format(RowCodec::float16, 3), InvalidArgument, "float16");
  CHECK_THROWS(row_format(RowCodec::bfloat16, 0), InvalidArgument, "bfloat16");
  CHECK_THROWS(row_format(RowCodec::int8, 4), InvalidArgument, "4 bytes");
  CHECK_THROWS(parse_row_codec("float64"), InvalidArgument, "'float64'");
  CHECK_EQUAL(row_format(RowCodec::raw, 1).dim(), uint64_t{0});
}

}  // namespace
}  // namespace outcrop::testing
