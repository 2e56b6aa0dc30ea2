// Every block of a file, in order, each checked: what `verify` does.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "io/block_file.hpp"
#include "io/buffer_arena.hpp"

namespace outcrop {

// Called with the payload bytes checked so far, now and then and at the end. What it throws ends the scan.
using ScanProgress = std::function<void(uint64_t bytes_done)>;

// Throws CorruptFile at the first block that disagrees with its checksum, or when the last one is not padded with
// zeros; StorageFailure; ResourceExhausted when the arena is full of other leases. Any thread.
void verify_all(const BlockFile& file, BufferArena& arena, const ScanProgress& progress);

// The numbers of all blocks that disagree with their checksums, in order. Blocks that the device does not deliver
// throw.
std::vector<uint64_t> bad_blocks(const BlockFile& file, BufferArena& arena, const ScanProgress& progress);

}  // namespace outcrop
