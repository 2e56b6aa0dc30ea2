// Random numbers that depend on what they are for, and on nothing that was drawn before: key and counter in, bits out.
// So a minibatch is the same whatever thread draws it, and in which order.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace outcrop {

inline constexpr uint64_t kGoldenGamma = 0x9e3779b97f4a7c15;

// The finaliser of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014), in
// Stafford's variant 13: a bijection whose outputs over a counter pass the usual batteries of tests.
inline uint64_t mix_bits(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// What a number is for, as one key: (seed, purpose, epoch, batch, hop, ...). Order matters.
inline uint64_t random_key(std::initializer_list<uint64_t> parts) {
  uint64_t key = kGoldenGamma;
  for (const uint64_t part : parts) key = mix_bits(key ^ mix_bits(part + kGoldenGamma));
  return key;
}

// One number per item of a key.
inline uint64_t random_bits(uint64_t key, uint64_t item) { return mix_bits(key + item * kGoldenGamma); }

// Uniform in [0, bound). The bias, at most bound / 2^64, is beyond any test.
inline uint64_t scaled_below(uint64_t bits, uint64_t bound) {
  return static_cast<uint64_t>((static_cast<unsigned __int128>(bits) * bound) >> 64);
}

// Uniform in (0, 1]: fit for a logarithm.
inline double unit_interval(uint64_t bits) { return static_cast<double>((bits >> 11) + 1) * 0x1p-53; }

// Numbers 0, 1, 2, ... of a key.
class RandomStream {
 public:
  explicit RandomStream(uint64_t key) : state_(key) {}

  uint64_t bits() { return mix_bits(state_ += kGoldenGamma); }
  uint64_t below(uint64_t bound) { return scaled_below(bits(), bound); }

 private:
  uint64_t state_;
};

}  // namespace outcrop
