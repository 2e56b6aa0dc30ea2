// The owner's side: rows in, inboxes out. The threads that write and read are in victim_buffer_io.cpp.
#include "tiers/victim_buffer.hpp"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstring>
#include <limits>
#include <utility>

#include "error.hpp"
#include "io/block.hpp"

namespace outcrop {
namespace {

// The last buffers are for reading the next inbox back, in long runs, so that rows put for later requests cannot block
// it.
uint32_t reading_buffers(uint32_t num_buffers) { return std::max(2u, num_buffers / 8); }

uint32_t count_buffers(const VictimBufferOptions& options, uint32_t extent_bytes) {
  const uint64_t n = options.memory_bytes / extent_bytes;
  if (n < VictimBuffer::kFewestBuffers)
    throw InvalidArgument("victim buffer: memory of " + std::to_string(options.memory_bytes) +
                          " bytes, expected at least " +
                          std::to_string(uint64_t{VictimBuffer::kFewestBuffers} * extent_bytes) + " for rows of " +
                          std::to_string(options.row_bytes) + " bytes");
  return static_cast<uint32_t>(std::min<uint64_t>(n, std::numeric_limits<uint32_t>::max()));
}

// A direct write waits for the device; two keep it busy, though rows come while a sweep of the file reads.
constexpr int kWriters = 2;

}  // namespace

uint32_t VictimBuffer::extent_bytes_for(uint64_t row_bytes, uint32_t extent_bytes) {
  if (row_bytes == 0 || row_bytes > (1u << 24))
    throw InvalidArgument("victim buffer: rows of " + std::to_string(row_bytes) + " bytes, expected 1 to 16 MiB");
  return static_cast<uint32_t>(round_up_to_block(std::max<uint64_t>(extent_bytes, 16 * (row_bytes + 8))));
}

VictimBuffer::VictimBuffer(const VictimBufferOptions& options)
    : row_bytes_(options.row_bytes),
      extent_bytes_(extent_bytes_for(options.row_bytes, options.extent_bytes)),
      rows_per_extent_(static_cast<uint32_t>((extent_bytes_ - 4) / (row_bytes_ + 4))),
      num_buffers_(count_buffers(options, extent_bytes_)),
      num_reading_(reading_buffers(num_buffers_)),
      arena_(uint64_t{num_buffers_} * extent_bytes_) {
  if (options.disk_bytes == 0) return;
  if (options.disk_bytes < extent_bytes_)
    throw InvalidArgument("victim buffer: disk budget of " + std::to_string(options.disk_bytes) +
                          " bytes, expected 0 or at least one extent of " + std::to_string(extent_bytes_));
  file_ = std::make_unique<ScratchFile>(options.folder, options.disk_bytes, extent_bytes_, options.faults);
  try {
    for (int i = 0; i < kWriters; ++i) threads_.emplace_back([this] { write_loop(); });
    threads_.emplace_back([this] { read_loop(); });
  } catch (...) {
    stop();
    throw;
  }
}

VictimBuffer::~VictimBuffer() { stop(); }

void VictimBuffer::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  to_write_.notify_all();
  to_read_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

bool VictimBuffer::put(uint32_t request, uint32_t key, const std::byte* row) {
  Inbox& inbox = inbox_of(request, "put");
  if (inbox.open == nullptr && !open_piece(inbox)) {
    rows_refused_.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  Piece& piece = *inbox.open;
  std::memcpy(piece.buffer.data() + piece.num_rows * row_bytes_, row, row_bytes_);
  keys_of(piece)[piece.num_rows++] = key;
  ++inbox.num_rows;
  rows_put_.fetch_add(1, std::memory_order_relaxed);
  if (piece.num_rows == rows_per_extent_) close_piece(inbox);
  return true;
}

void VictimBuffer::prefetch(uint32_t request) {
  Inbox& inbox = inbox_of(request, "prefetch");
  std::lock_guard lock(mutex_);
  check_failed();
  start_reads(inbox, request == first_ ? 0 : num_reading_);
}

void VictimBuffer::take(uint32_t request, const Consumer& consume) {
  inbox_of(request, "take");
  std::unique_lock lock(mutex_);
  for (; first_ < request; ++first_) {
    drop(inboxes_.front(), lock);
    inboxes_.pop_front();
  }
  Inbox& inbox = inboxes_.front();
  inbox.open = nullptr;
  inbox.full.clear();
  // What is in memory first: that makes room to read the rest.
  for (size_t left = inbox.pieces.size(); left > 0; --left) {
    check_failed();
    start_reads(inbox, 0);
    auto* piece = next_in_memory(inbox);
    for (; piece == nullptr; piece = next_in_memory(inbox)) {
      wait(lock, counts_.take_waits, counts_.take_wait_us);
      check_failed();
      start_reads(inbox, 0);
    }
    consume_piece(*piece, consume, lock);
  }
  inboxes_.pop_front();
  ++first_;
}

uint64_t VictimBuffer::rows_of(uint32_t request) const {
  return request < first_ || request - first_ >= inboxes_.size() ? 0 : inboxes_[request - first_].num_rows;
}

uint64_t VictimBuffer::room_rows(bool on_disk_too) const {
  std::lock_guard lock(mutex_);
  const uint32_t used = std::min(num_buffers_, buffers_in_use_ + num_reading_);
  return (num_buffers_ - used + (on_disk_too && file_ ? file_->num_free() : 0)) * uint64_t{rows_per_extent_};
}

VictimStatistics VictimBuffer::statistics() const {
  std::lock_guard lock(mutex_);
  VictimStatistics counts = counts_;
  counts.rows_put = rows_put_.load(std::memory_order_relaxed);
  counts.rows_refused = rows_refused_.load(std::memory_order_relaxed);
  counts.rows_waiting = counts.rows_put - counts.rows_taken - counts.rows_dropped;
  counts.memory_bytes = uint64_t{buffers_in_use_} * extent_bytes_;
  counts.disk_bytes = file_ ? uint64_t{file_->num_extents() - file_->num_free()} * extent_bytes_ : 0;
  counts.direct = file_ && file_->direct();
  return counts;
}

VictimBuffer::Inbox& VictimBuffer::inbox_of(uint32_t request, const char* what) {
  if (request < first_)
    throw InvalidArgument(std::string("victim buffer: ") + what + " of request " + std::to_string(request) +
                          ", whose inbox was taken or passed over: " + std::to_string(first_) + " comes next");
  if (request - first_ >= kFarthest)
    throw InvalidArgument(std::string("victim buffer: ") + what + " of request " + std::to_string(request) +
                          ", more than " + std::to_string(kFarthest) + " ahead of " + std::to_string(first_));
  while (inboxes_.size() <= request - first_) inboxes_.emplace_back();
  return inboxes_[request - first_];
}

bool VictimBuffer::open_piece(Inbox& inbox) {
  std::unique_lock lock(mutex_);
  check_failed();
  auto buffer = lease_buffer(num_reading_);
  while (!buffer) {
    if (buffers_being_written_ == 0 && !spill_one()) return false;
    wait(lock, counts_.put_waits, counts_.put_wait_us);
    check_failed();
    buffer = lease_buffer(num_reading_);
  }
  inbox.pieces.push_back(std::make_unique<Piece>());
  inbox.open = inbox.pieces.back().get();
  inbox.open->buffer = std::move(buffer);
  return true;
}

void VictimBuffer::close_piece(Inbox& inbox) {
  std::lock_guard lock(mutex_);
  inbox.open->place = Place::full;
  inbox.full.push_back(std::exchange(inbox.open, nullptr));
  // Written before memory is short, so that `put` seldom waits. An eighth of the buffers is a few milliseconds of puts.
  const uint32_t wanted = num_reading_ + std::max(1u, num_buffers_ / 8);
  while (num_buffers_ - buffers_in_use_ + buffers_being_written_ < wanted && spill_one()) {
  }
}

BufferArena::Lease VictimBuffer::lease_buffer(uint32_t keep_free) {
  if (buffers_in_use_ + keep_free >= num_buffers_) return {};
  auto buffer = arena_.try_lease(extent_bytes_);
  assert(buffer);
  ++buffers_in_use_;
  counts_.peak_memory_bytes = std::max(counts_.peak_memory_bytes, uint64_t{buffers_in_use_} * extent_bytes_);
  return buffer;
}

// Gives the full extent that is needed last to the writer; without any, the farthest one that is at least half full:
// to write emptier ones would cost more disk than it saves reads. False when there is none, or no room on disk.
bool VictimBuffer::spill_one() {
  if (!spilling_ || !file_ || file_->num_free() == 0) return false;
  for (auto inbox = inboxes_.rbegin(); inbox != inboxes_.rend(); ++inbox) {
    if (inbox->full.empty()) continue;
    Piece& piece = *inbox->full.back();
    inbox->full.pop_back();
    spill(*inbox, piece);
    return true;
  }
  for (auto inbox = inboxes_.rbegin(); inbox != inboxes_.rend(); ++inbox) {
    if (inbox->open == nullptr || inbox->open->num_rows * 2 < rows_per_extent_) continue;
    spill(*inbox, *std::exchange(inbox->open, nullptr));
    return true;
  }
  return false;
}

void VictimBuffer::spill(Inbox& inbox, Piece& piece) {
  piece.extent = inbox.last_extent = file_->allocate(inbox.last_extent);
  piece.place = Place::to_write;
  ++buffers_being_written_;
  write_queue_.push_back(&piece);
  const uint64_t used = uint64_t{file_->num_extents() - file_->num_free()} * extent_bytes_;
  counts_.peak_disk_bytes = std::max(counts_.peak_disk_bytes, used);
  to_write_.notify_one();
}

void VictimBuffer::start_reads(Inbox& inbox, uint32_t keep_free) {
  for (auto& piece : inbox.pieces) {
    if (!piece || piece->place != Place::on_disk) continue;
    piece->buffer = lease_buffer(keep_free);
    if (!piece->buffer) break;
    piece->place = Place::to_read;
    read_queue_.push_back(piece.get());
  }
  if (!read_queue_.empty()) to_read_.notify_one();
}

// A piece that was already taken is null.
std::unique_ptr<VictimBuffer::Piece>* VictimBuffer::next_in_memory(Inbox& inbox) {
  for (auto& piece : inbox.pieces)
    if (piece && piece->place != Place::on_disk && piece->place != Place::to_read && piece->place != Place::reading)
      return &piece;
  return nullptr;
}

void VictimBuffer::consume_piece(std::unique_ptr<Piece>& piece, const Consumer& consume,
                                 std::unique_lock<std::mutex>& lock) {
  unqueue(*piece);
  piece->pinned = true;
  const bool from_disk = piece->place == Place::ready;
  lock.unlock();
  consume({keys_of(*piece), piece->num_rows}, piece->buffer.data());
  lock.lock();
  counts_.rows_taken += piece->num_rows;
  if (from_disk) counts_.rows_from_disk += piece->num_rows;
  release(piece, lock);
}

// A write that has not begun is not needed when its rows are taken from memory.
void VictimBuffer::unqueue(Piece& piece) {
  if (piece.place != Place::to_write) return;
  write_queue_.erase(std::find(write_queue_.begin(), write_queue_.end(), &piece));
  --buffers_being_written_;
  piece.place = Place::full;
}

void VictimBuffer::release(std::unique_ptr<Piece>& piece, std::unique_lock<std::mutex>& lock) {
  while (piece->place == Place::writing || piece->place == Place::to_read || piece->place == Place::reading) {
    wait(lock, counts_.take_waits, counts_.take_wait_us);
    check_failed();
  }
  if (piece->buffer) --buffers_in_use_;
  if (piece->extent != ScratchFile::kNone) file_->release(piece->extent);
  piece.reset();
}

void VictimBuffer::drop(Inbox& inbox, std::unique_lock<std::mutex>& lock) {
  inbox.open = nullptr;
  counts_.rows_dropped += inbox.num_rows;
  for (auto& piece : inbox.pieces) {
    unqueue(*piece);
    release(piece, lock);
  }
}

void VictimBuffer::wait(std::unique_lock<std::mutex>& lock, uint64_t& waits, uint64_t& us) {
  const auto begin = std::chrono::steady_clock::now();
  changed_.wait(lock);
  ++waits;
  us += static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begin).count());
}

void VictimBuffer::check_failed() const {
  if (error_) std::rethrow_exception(error_);
}

uint32_t* VictimBuffer::keys_of(const Piece& piece) const {
  const uint64_t offset = (rows_per_extent_ * row_bytes_ + 3) / 4 * 4;  // behind the rows
  return reinterpret_cast<uint32_t*>(piece.buffer.data() + offset);
}

}  // namespace outcrop
