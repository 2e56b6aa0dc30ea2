// Where each row of a minibatch comes from. A plan stores the first form, one per minibatch and stream (a node type and
// its feature table); every tier and loader executes the second one (tiers/assembler.hpp).
//
// Keys are rows of a feature table, slots are places in a slab of cached rows, rows are places in the minibatch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace outcrop {

class BlockFile;

// ---- as a plan stores it

// One hop segment of a minibatch's rows. Its rows [base, base + num_misses) lie in the log, its next num_hits in slots,
// and the next segment's base follows. A segment's part of the log is contiguous, in the order of the minibatch's rows,
// begins in a block of its own, and log_offset % 4096 == base * row_bytes % 4096: blocks of the log are then blocks of
// the minibatch's tensor, and an O_DIRECT read puts missed rows where they belong.
struct SegmentMove {
  uint64_t num_misses = 0;
  uint64_t num_hits = 0;
  uint64_t log_offset = 0;  // in the log's payload; meaningless when num_misses is 0

  bool operator==(const SegmentMove&) const = default;
};

struct StreamRecipe {
  uint32_t type = 0;  // of the nodes
  std::vector<SegmentMove> segments;
  std::vector<uint32_t> hit_slots;  // of the hits of all segments, in the order of their rows
  // A slot may hold a row that this minibatch hits: inserts are done when all hits have been gathered.
  std::vector<uint32_t> insert_rows;   // missed rows of this minibatch that enter the cache
  std::vector<uint32_t> insert_slots;  // as many
};

// ---- as it is executed

// Bytes that a file holds one behind the other and the minibatch wants one behind the other.
struct RowExtent {
  const BlockFile* file = nullptr;
  uint64_t offset = 0;      // in the file's payload
  uint64_t out_offset = 0;  // in the tensor of coded rows. Read in place where it is congruent to offset modulo 4096
  uint64_t bytes = 0;

  bool operator==(const RowExtent&) const = default;
};

// All rows of one stream in one minibatch: each row is in exactly one extent, hit or master entry. What the spans point
// at is the maker's and outlives the execution. Order of execution: extents and master rows in any order, hits before
// inserts, inserts when everything else has arrived.
struct Recipe {
  uint64_t num_rows = 0;
  std::vector<RowExtent> extents;
  std::span<const uint32_t> hit_rows, hit_slots;        // row hit_rows[i] is what slot hit_slots[i] holds
  std::span<const uint32_t> master_rows, master_keys;   // row master_rows[i] is row master_keys[i] of the feature table
  std::span<const uint32_t> insert_rows, insert_slots;  // row insert_rows[i] then goes to slot insert_slots[i]
};

}  // namespace outcrop
