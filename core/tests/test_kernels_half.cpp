#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "kernels/half.hpp"
#include "tests/check.hpp"

namespace outcrop::testing {
namespace {

constexpr Isa kIsas[] = {Isa::scalar, Isa::avx2, Isa::avx512};

// The value of a finite half by its definition.
double half_value(uint32_t half) {
  const int exponent = static_cast<int>((half >> 10) & 31);
  const double mantissa = half & 1023;
  const double size = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return (half & 0x8000u) ? -size : size;
}

std::vector<uint16_t> every_half() {
  std::vector<uint16_t> halves(65536);
  for (uint32_t i = 0; i < 65536; ++i) halves[i] = static_cast<uint16_t>(i);
  return halves;
}

std::vector<uint16_t> to_halves(const std::vector<float>& floats, Isa isa) {
  std::vector<uint16_t> halves(floats.size());
  floats_to_halves(floats.data(), floats.size(), reinterpret_cast<std::byte*>(halves.data()), isa);
  return halves;
}

TEST(every_half_becomes_the_float_of_its_definition_and_returns_to_itself) {
  const auto halves = every_half();
  for (Isa isa : kIsas) {
    if (!isa_supported(isa)) continue;
    std::vector<float> floats(halves.size());
    halves_to_floats(reinterpret_cast<const std::byte*>(halves.data()), halves.size(), floats.data(), isa);
    const auto back = to_halves(floats, isa);
    for (uint32_t i = 0; i < 65536; ++i) {
      const bool special = ((i >> 10) & 31) == 31, is_nan = special && (i & 1023);
      if (is_nan) {
        CHECK(std::isnan(floats[i]));
        CHECK_EQUAL(back[i], static_cast<uint16_t>(i | 0x0200u));  // quiet, its payload kept
        continue;
      }
      if (special)
        CHECK(std::isinf(floats[i]));
      else
        CHECK_EQUAL(static_cast<double>(floats[i]), half_value(i));
      CHECK_EQUAL(back[i], static_cast<uint16_t>(i));
    }
  }
}

TEST(a_float_between_two_halves_goes_to_the_nearer_one_and_a_tie_to_the_even_one) {
  for (uint32_t i = 0; i + 1 < 0x7c00u; ++i) {
    const float middle = static_cast<float>((half_value(i) + half_value(i + 1)) / 2);
    const auto even = static_cast<uint16_t>(i % 2 == 0 ? i : i + 1);
    CHECK_EQUAL(float_to_half(middle), even);
    CHECK_EQUAL(float_to_half(std::nextafter(middle, 0.0f)), static_cast<uint16_t>(i));
    CHECK_EQUAL(float_to_half(std::nextafter(middle, 1e9f)), static_cast<uint16_t>(i + 1));
  }
  CHECK_EQUAL(float_to_half(65520.0f), uint16_t{0x7c00});  // half way past the largest: infinity
  CHECK_EQUAL(float_to_half(std::numeric_limits<float>::denorm_min()), uint16_t{0});
}

TEST(float_to_half_gives_the_same_bits_in_every_variant) {
  std::mt19937 random(7);
  std::vector<float> floats(100003);
  for (float& value : floats) {
    const auto bits = static_cast<uint32_t>(random());
    std::memcpy(&value, &bits, sizeof(value));
  }
  const auto expected = to_halves(floats, Isa::scalar);
  for (Isa isa : kIsas)
    if (isa_supported(isa)) CHECK(to_halves(floats, isa) == expected);
}

}  // namespace
}  // namespace outcrop::testing
