// The unit of storage I/O. Offsets, lengths and buffers of device reads are multiples of it, as O_DIRECT asks.
#pragma once

#include <cstddef>
#include <cstdint>

namespace outcrop {

inline constexpr uint32_t kBlockBytes = 4096;

constexpr uint64_t round_down_to_block(uint64_t bytes) { return bytes & ~uint64_t{kBlockBytes - 1}; }

// Wraps around within a block of 2^64; callers bound what comes from disk before they round it up.
constexpr uint64_t round_up_to_block(uint64_t bytes) { return round_down_to_block(bytes + kBlockBytes - 1); }

constexpr bool is_block_multiple(uint64_t bytes) { return (bytes & (kBlockBytes - 1)) == 0; }

}  // namespace outcrop
