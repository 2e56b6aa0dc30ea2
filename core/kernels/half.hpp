// IEEE binary16 to and from binary32, round to nearest even; subnormals kept, overflow gives infinity, NaN becomes
// quiet. All variants give the same bits.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "kernels/dispatch.hpp"

namespace outcrop {

inline float half_to_float(uint16_t half) {
  uint32_t bits = (half & 0x7fffu) << 13;
  const uint32_t exponent = bits & 0x0f800000u;
  bits += 112u << 23;  // The exponent's bias: 127 - 15.
  if (exponent == 0x0f800000u) {
    bits += 112u << 23;
    if (half & 0x03ffu) bits |= 1u << 22;
  } else if (exponent == 0) {
    // A subnormal: give it an implicit one and take that away again in float arithmetic, which normalises.
    bits = std::bit_cast<uint32_t>(std::bit_cast<float>(bits + (1u << 23)) - std::bit_cast<float>(113u << 23));
  }
  return std::bit_cast<float>(bits | (half & 0x8000u) << 16);
}

inline uint16_t float_to_half(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  bits &= 0x7fffffffu;
  uint32_t half;
  if (bits > 0x7f800000u) {
    half = 0x7e00u | ((bits >> 13) & 0x03ffu);
  } else if (bits >= (127u + 16u) << 23) {
    half = 0x7c00u;
  } else if (bits < (127u - 14u) << 23) {
    // Adding 0.5 leaves the subnormal's bits, correctly rounded, at the low end of the sum.
    half = std::bit_cast<uint32_t>(std::bit_cast<float>(bits) + 0.5f) - std::bit_cast<uint32_t>(0.5f);
  } else {
    const uint32_t odd = (bits >> 13) & 1;
    half = (bits - (112u << 23) + 0xfffu + odd) >> 13;  // May carry into the exponent, up to infinity: right so.
  }
  return static_cast<uint16_t>(half | sign);
}

// The halves need not be aligned.
void halves_to_floats(const std::byte* halves, size_t n, float* out, Isa isa = active_isa());
void floats_to_halves(const float* in, size_t n, std::byte* halves, Isa isa = active_isa());

}  // namespace outcrop
