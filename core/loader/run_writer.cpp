#include "loader/run_writer.hpp"

#include <algorithm>
#include <system_error>
#include <utility>

#include "error.hpp"

namespace outcrop {

RunWriter::RunWriter(ExtentFile& file, size_t chunk_bytes, size_t num_chunks, uint32_t num_threads)
    : file_(file),
      chunk_bytes_(chunk_bytes),
      arena_(chunk_bytes * num_chunks),
      lease_(arena_.try_lease(chunk_bytes * num_chunks)) {
  for (size_t i = num_chunks; i-- > 0;) free_.push_back(lease_.data() + i * chunk_bytes);
  for (uint32_t i = 0; i < num_threads; ++i) try {
      threads_.emplace_back([this] { work(); });
    } catch (const std::system_error&) {  // a refused thread costs speed, as long as there is one
      if (threads_.empty()) throw ResourceExhausted("pack: the system refuses a thread for writing");
      break;
    }
}

RunWriter::~RunWriter() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    queue_.clear();
  }
  work_ready_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

std::byte* RunWriter::take_chunk() {
  std::unique_lock lock(mutex_);
  chunks_ready_.wait(lock, [this] { return error_ || !free_.empty(); });
  if (error_) std::rethrow_exception(error_);
  std::byte* chunk = free_.back();
  free_.pop_back();
  return chunk;
}

void RunWriter::submit(Run run) {
  {
    const std::lock_guard lock(mutex_);
    ++runs_, bytes_ += run.bytes;
    queue_.push_back(std::move(run));
    waiting_ = queue_.size();
  }
  work_ready_.notify_one();
}

void RunWriter::drain() {
  std::unique_lock lock(mutex_);
  chunks_ready_.wait(lock, [this] { return error_ || (queue_.empty() && in_progress_ == 0); });
  if (error_) std::rethrow_exception(error_);
}

void RunWriter::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_ready_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    const Run run = std::move(queue_.front());
    queue_.pop_front();
    waiting_ = queue_.size();
    ++in_progress_;
    lock.unlock();
    std::exception_ptr error;
    try {
      write(run);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    --in_progress_;
    if (error && !error_) error_ = error;
    free_.insert(free_.end(), run.chunks.begin(), run.chunks.end());
    chunks_ready_.notify_all();
  }
}

void RunWriter::write(const Run& run) {
  std::vector<iovec> parts;
  uint64_t left = run.bytes;
  for (std::byte* chunk : run.chunks) {
    const uint64_t bytes = std::min<uint64_t>(left, chunk_bytes_);
    parts.push_back({chunk, bytes});
    left -= bytes;
  }
  file_.write(run.first_block, parts);
}

}  // namespace outcrop
