// Memory in chunks, lent to those who fill them, and threads that write filled chunks to a file and take them back.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "io/buffer_arena.hpp"
#include "loader/extent_file.hpp"

namespace outcrop {

// Consecutive blocks of the file, in chunks that are full but for the last one.
struct Run {
  uint64_t first_block = 0;
  uint64_t bytes = 0;  // whole blocks
  std::vector<std::byte*> chunks;
};

class RunWriter {
 public:
  // chunk_bytes: whole blocks.
  RunWriter(ExtentFile& file, size_t chunk_bytes, size_t num_chunks, uint32_t num_threads);
  ~RunWriter();  // drops what is queued, waits for what is being written
  RunWriter(const RunWriter&) = delete;
  RunWriter& operator=(const RunWriter&) = delete;

  size_t chunk_bytes() const { return chunk_bytes_; }

  // Waits for a chunk; some must be queued or being written when none is free. Throws what a writing thread threw.
  std::byte* take_chunk();
  void submit(Run run);
  bool is_idle() const { return waiting_ == 0; }  // nothing waits to be written
  void drain();  // waits until everything submitted is written. Throws what a writing thread threw.

  uint64_t runs() const { return runs_; }  // submitted so far, and their bytes
  uint64_t bytes() const { return bytes_; }

 private:
  void work();
  void write(const Run& run);

  ExtentFile& file_;
  const size_t chunk_bytes_;
  BufferArena arena_;
  BufferArena::Lease lease_;
  std::mutex mutex_;
  std::condition_variable work_ready_, chunks_ready_;
  std::vector<std::byte*> free_;
  std::deque<Run> queue_;
  std::atomic<size_t> waiting_{0};  // queue_.size(), to be looked at without the lock
  size_t in_progress_ = 0;
  bool stopping_ = false;
  std::exception_ptr error_;
  uint64_t runs_ = 0, bytes_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace outcrop
