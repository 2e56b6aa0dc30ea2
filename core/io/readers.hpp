// The three implementations, for block_reader.cpp to choose from.
#pragma once

#include <memory>
#include <optional>

#include "error.hpp"
#include "io/block_reader.hpp"

namespace outcrop {

// Why io_uring cannot be used here; nothing when it can.
std::optional<StorageFailure> io_uring_refusal(const ReaderOptions& options);

std::shared_ptr<BlockReader> make_io_uring_reader(const ReaderOptions& options);
std::shared_ptr<BlockReader> make_pread_reader(const ReaderOptions& options);
std::shared_ptr<BlockReader> make_memory_reader(const ReaderOptions& options);

}  // namespace outcrop
