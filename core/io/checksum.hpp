// CRC32C (Castagnoli), the checksum of every block on disk. The SSE4.2 instruction is used when the CPU has it; a table
// twin is always compiled and gives the same numbers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "io/block.hpp"

namespace outcrop {

// The CRC32C of `size` bytes continued from `crc`: crc32c(crc32c(0, a), b) == crc32c(0, a + b).
// crc32c(0, "123456789", 9) == 0xE3069283.
uint32_t crc32c(uint32_t crc, const void* data, size_t size);

// The twin without the instruction, slicing by eight.
uint32_t crc32c_portable(uint32_t crc, const void* data, size_t size);

bool has_crc32c_instruction();

// out[i] = crc32c over (first_block + i as u64 little-endian) followed by the 4096 bytes of blocks[i]. The block's
// number within its file is part of the sum, so that a right block in a wrong place fails.
void block_checksums(const std::byte* blocks, size_t num_blocks, uint64_t first_block, uint32_t* out);
void block_checksums_portable(const std::byte* blocks, size_t num_blocks, uint64_t first_block, uint32_t* out);

}  // namespace outcrop
