// The element types of stored rows and the metrics the kernels compute. Distances are smaller-is-nearer everywhere:
// l2 is the SQUARED Euclidean distance, inner_product is the negated dot product. Cosine is made at the edge, by
// normalising rows and queries.
#pragma once

#include <cstddef>
#include <cstdint>

namespace outcrop {

enum class Dtype : uint8_t { float32, float16, uint8, int8 };
enum class Metric : uint8_t { l2, inner_product };

// The largest dimension. Integer kernels sum in 32 bits: 32,768 * 255^2 = 2,130,739,200 still fits an int32.
inline constexpr size_t kMaxDim = 32768;

constexpr size_t item_bytes(Dtype dtype) {
  switch (dtype) {
    case Dtype::float32:
      return 4;
    case Dtype::float16:
      return 2;
    case Dtype::uint8:
    case Dtype::int8:
      return 1;
  }
  return 0;
}

}  // namespace outcrop
