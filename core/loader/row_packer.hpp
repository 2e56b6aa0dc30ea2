// Rows of a block file, distributed in one pass in file order to the streams that want them: each stream is a list of
// ascending keys, and its rows go one behind the other to a place of its own in another block file.
//
// The source is read once, from its first wanted row to its last, in long checked reads, several in flight. Each
// stream's rows gather in memory; when memory is full the stream that has most is written, so runs are as long as the
// memory allows (twice memory / streams on average). A distribution sort: with more streams than runs of a useful
// length fit, distribute to groups of streams first, then group by group (gnn_loader/planning/pack.py).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "io/block_file.hpp"
#include "loader/extent_file.hpp"

namespace outcrop {

// Row i of the source has key i, or keys[i] when there are keys (ascending), and lies at offset + i * row_bytes of the
// payload.
struct RowSource {
  const BlockFile& file;
  uint64_t row_bytes = 0;
  uint64_t num_rows = 0;
  uint64_t offset = 0;
  std::span<const uint32_t> keys = {};
};

struct PackStream {
  std::span<const uint32_t> keys;  // ascending; one may repeat, and its row is then stored as often
  uint64_t offset = 0;             // of the first row in the target's payload
};

struct PackOptions {
  uint64_t memory_bytes = 64 << 20;        // for everything but a few bytes per stream
  uint64_t checkpoint_bytes = 4ull << 30;  // written between two checkpoints
  uint32_t num_writers = 2;
};

struct PackUsage {
  uint64_t rows = 0;  // copied
  uint64_t reads = 0, read_bytes = 0;
  uint64_t runs = 0, written_bytes = 0;
};

// Called with the rows copied so far, a few times a second; what it throws ends the packing.
using PackProgress = std::function<void(uint64_t rows)>;
// Called when all rows with keys below `key` are durable in the target.
using PackCheckpoint = std::function<void(uint64_t key)>;

// The least memory that so many streams need.
uint64_t least_pack_memory(uint64_t num_streams, uint64_t row_bytes);

// The blocks that a stream's rows touch must be no other stream's; the rest of those blocks becomes zero. A file is
// whole when its streams touch all its blocks. first_key:
// goes on where an earlier call had its last checkpoint, 0 at first. All rows are written, not synced, when it returns.
// Throws InvalidArgument for keys that do not ascend or are not in the source, ResourceExhausted below
// least_pack_memory, CorruptFile and StorageFailure.
PackUsage pack_rows(const RowSource& source, std::span<const PackStream> streams, ExtentFile& target,
                    const PackOptions& options, uint64_t first_key, const PackProgress& progress,
                    const PackCheckpoint& checkpoint);

// How many different keys the streams have together; written to `out`, ascending, unless it is empty.
uint64_t union_of_keys(std::span<const PackStream> streams, std::span<uint32_t> out);

}  // namespace outcrop
