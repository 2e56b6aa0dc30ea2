// The threads of a victim buffer: some write extents out, one brings them back, in runs that lie together on disk.
#include <algorithm>
#include <array>
#include <string>

#include "error.hpp"
#include "io/checksum.hpp"
#include "tiers/victim_buffer.hpp"

namespace outcrop {
namespace {

// 16 extents of 256 KiB are 4 MiB a call: one call after the other then reaches the device's sequential bandwidth.
constexpr size_t kLongestRun = 16;

uint32_t checksum(uint64_t serial, const std::byte* data, uint32_t bytes) {
  return crc32c(crc32c(0, &serial, sizeof serial), data, bytes);
}

// The first of the queue, and those behind it that follow it on disk.
template <class Piece>
std::vector<Piece*> take_run(std::deque<Piece*>& queue) {
  std::vector<Piece*> run;
  while (!queue.empty() && run.size() < kLongestRun &&
         (run.empty() || queue.front()->extent == run.back()->extent + 1)) {
    run.push_back(queue.front());
    queue.pop_front();
  }
  return run;
}

template <class Piece>
std::vector<std::byte*> buffers_of(std::span<Piece* const> run) {
  std::vector<std::byte*> buffers;
  for (const Piece* piece : run) buffers.push_back(piece->buffer.data());
  return buffers;
}

}  // namespace

void VictimBuffer::write_loop() {
  std::unique_lock lock(mutex_);
  while (true) {
    to_write_.wait(lock, [&] { return stopping_ || !write_queue_.empty(); });
    if (stopping_) return;
    const auto run = take_run(write_queue_);
    for (Piece* piece : run) {
      piece->place = Place::writing;
      piece->serial = next_serial_++;
    }
    lock.unlock();
    std::exception_ptr error;
    try {
      write_run(run);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    if (error && !error_) error_ = error;
    if (error) stopping_ = true;
    for (Piece* piece : run) {
      piece->place = Place::on_disk;
      --buffers_being_written_;
      if (piece->pinned) continue;
      piece->buffer.reset();
      --buffers_in_use_;
    }
    counts_.writes += 1;
    counts_.bytes_written += run.size() * uint64_t{extent_bytes_};
    changed_.notify_all();
  }
}

void VictimBuffer::write_run(std::span<Piece* const> run) {
  for (Piece* piece : run) piece->checksum = checksum(piece->serial, piece->buffer.data(), extent_bytes_);
  file_->write(run.front()->extent, buffers_of(run));
}

void VictimBuffer::read_loop() {
  std::unique_lock lock(mutex_);
  while (true) {
    to_read_.wait(lock, [&] { return stopping_ || !read_queue_.empty(); });
    if (stopping_) return;
    const auto run = take_run(read_queue_);
    for (Piece* piece : run) piece->place = Place::reading;
    lock.unlock();
    std::exception_ptr error;
    try {
      read_run(run);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    if (error && !error_) error_ = error;
    if (error) stopping_ = true;
    for (Piece* piece : run) piece->place = Place::ready;
    counts_.reads += 1;
    counts_.bytes_read += run.size() * uint64_t{extent_bytes_};
    changed_.notify_all();
  }
}

void VictimBuffer::read_run(std::span<Piece* const> run) {
  file_->read(run.front()->extent, buffers_of(run));
  for (const Piece* piece : run) {
    const uint32_t found = checksum(piece->serial, piece->buffer.data(), extent_bytes_);
    if (found == piece->checksum) continue;
    throw CorruptFile("scratch file in " + file_->folder() + ": extent " + std::to_string(piece->extent) +
                      " at offset " + std::to_string(file_->offset_of(piece->extent)) + ": checksum " +
                      std::to_string(found) + ", expected " + std::to_string(piece->checksum) +
                      "; the device does not give back what was written");
  }
}

}  // namespace outcrop
