// Rows of a table fetched in file order, and handed out one by one as they arrive: for rows that go to different
// places.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "io/block_file.hpp"
#include "io/buffer_arena.hpp"
#include "io/range_reader.hpp"

namespace outcrop {

struct RowScanOptions {
  uint64_t gap_bytes = 12 * 1024;         // reads this far apart become one
  uint64_t max_read_bytes = 1024 * 1024;  // longer than a row is wide, at least
};

// keys: ascending rows of a table whose payload has row k at k * row_bytes; they may repeat. `arrived(i, row)` is
// called once for each position i of keys, in no stated order, in this thread, while further reads are under way; the
// row is good until it returns. Every block is checked. Throws InvalidArgument, CorruptFile, StorageFailure, and
// ResourceExhausted when the arena has no room for one read.
using RowArrived = std::function<void(size_t index, const std::byte* row)>;
ReadUsage scan_rows(const BlockFile& file, uint64_t row_bytes, std::span<const uint32_t> keys,
                    const RowScanOptions& options, BufferArena& arena, const RowArrived& arrived);

}  // namespace outcrop
