#include "io/buffer_arena.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cassert>
#include <limits>
#include <string>
#include <utility>

#include "error.hpp"

namespace outcrop {

BufferArena::Lease::Lease(Lease&& other) noexcept
    : arena_(std::exchange(other.arena_, nullptr)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

BufferArena::Lease& BufferArena::Lease::operator=(Lease&& other) noexcept {
  if (this == &other) return *this;
  reset();
  arena_ = std::exchange(other.arena_, nullptr);
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  return *this;
}

void BufferArena::Lease::reset() {
  if (data_ != nullptr) arena_->give_back(data_, size_);
  arena_ = nullptr;
  data_ = nullptr;
  size_ = 0;
}

BufferArena::BufferArena(size_t capacity_bytes) {
  if (capacity_bytes == 0 || capacity_bytes > std::numeric_limits<size_t>::max() / 2)
    throw InvalidArgument("buffer arena: capacity must be at least 1 byte and sane, got " +
                          std::to_string(capacity_bytes));
  capacity_ = round_up_to_block(capacity_bytes);
  void* region = mmap(nullptr, capacity_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (region == MAP_FAILED)
    throw ResourceExhausted("buffer arena: the system refuses a mapping of " + std::to_string(capacity_) + " bytes");
  base_ = static_cast<std::byte*>(region);
  free_.emplace(0, capacity_);
}

BufferArena::~BufferArena() {
  assert(in_use_ == 0);
  munmap(base_, capacity_);
}

BufferArena::Lease BufferArena::try_lease(size_t bytes) {
  if (bytes == 0 || bytes > capacity_) return {};
  std::lock_guard lock(mutex_);
  return take(round_up_to_block(bytes));
}

BufferArena::Lease BufferArena::lease(size_t bytes, const Stop& stop) {
  if (bytes == 0 || bytes > capacity_)
    throw InvalidArgument("buffer arena: expected 1 to " + std::to_string(capacity_) + " bytes, got " +
                          std::to_string(bytes));
  struct Waiting {
    explicit Waiting(std::atomic<size_t>& waiting) : count(waiting) { ++count; }
    ~Waiting() { --count; }
    std::atomic<size_t>& count;
  };
  Lease lease;
  std::unique_lock lock(mutex_);
  const Waiting waiting(num_waiting_);
  stop.wait(given_back_, lock, [&] {
    lease = take(round_up_to_block(bytes));
    return bool(lease);
  });
  return lease;
}

// Under the lock.
BufferArena::Lease BufferArena::take(size_t wanted) {
  auto piece = std::find_if(free_.begin(), free_.end(), [&](const auto& entry) { return entry.second >= wanted; });
  if (piece == free_.end()) return {};
  const auto [offset, length] = *piece;
  free_.erase(piece);
  if (length > wanted) free_.emplace(offset + wanted, length - wanted);
  in_use_ += wanted;
  peak_ = std::max(peak_, in_use_);
  return Lease(this, base_ + offset, wanted);
}

void BufferArena::give_back(std::byte* data, size_t size) {
  std::lock_guard lock(mutex_);
  auto offset = static_cast<size_t>(data - base_);
  in_use_ -= size;
  if (is_awaited()) given_back_.notify_all();
  auto next = free_.lower_bound(offset);
  if (next != free_.end() && next->first == offset + size) {
    size += next->second;
    next = free_.erase(next);
  }
  if (next != free_.begin()) {
    auto previous = std::prev(next);
    if (previous->first + previous->second == offset) {
      previous->second += size;
      return;
    }
  }
  free_.emplace_hint(next, offset, size);
}

size_t BufferArena::in_use() const {
  std::lock_guard lock(mutex_);
  return in_use_;
}

size_t BufferArena::peak() const {
  std::lock_guard lock(mutex_);
  return peak_;
}

bool BufferArena::contains(const std::byte* data, size_t bytes) const {
  return data >= base_ && bytes <= capacity_ && data <= base_ + (capacity_ - bytes);
}

}  // namespace outcrop
