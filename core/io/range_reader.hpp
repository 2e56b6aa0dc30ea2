// Byte ranges of a payload, fetched in few reads and packed one behind the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "io/block_file.hpp"
#include "io/buffer_arena.hpp"
#include "stop.hpp"

namespace outcrop {

struct ReadUsage {
  uint64_t reads = 0;  // given to the device
  uint64_t bytes = 0;  // read from it
  uint64_t pages = 0;  // different 4-KiB blocks that the ranges needed; bytes / 4096 - pages were read to bridge gaps
};

// Copies payload bytes [offsets[i], offsets[i] + lengths[i]) to `out`, tightly one behind the other in the order given,
// whose size must be the sum of lengths. Ranges may repeat, overlap and come in any order. Reads are sorted, merged
// across gaps of up to gap_bytes, kept in flight up to the reader's queue depth, and every block read is checked.
// Buffers come from `arena`, as much as it has free; one block is enough. Where others hold all of it, the call waits
// for them. Throws InvalidArgument before any read, CorruptFile, StorageFailure, and what `stop` says, which is asked
// before the first read and between reads. Any thread.
ReadUsage read_ranges(const BlockFile& file, std::span<const int64_t> offsets, std::span<const int64_t> lengths,
                      std::span<std::byte> out, uint64_t gap_bytes, BufferArena& arena, const Stop& stop = {});

// As read_ranges, with a destination for each range: payload bytes [offsets[i], offsets[i] + outs[i].size()) go to
// outs[i].
ReadUsage read_ranges_apart(const BlockFile& file, std::span<const int64_t> offsets,
                            std::span<const std::span<std::byte>> outs, uint64_t gap_bytes, BufferArena& arena,
                            const Stop& stop = {});

}  // namespace outcrop
