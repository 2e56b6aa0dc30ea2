// One aligned region of memory under a stated capacity, lent out in pieces to reads. It is one mapping, so that
// io_uring can register it once. Pages that were never lent cost no memory, unless the arena is registered, which pins
// all of it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>

#include "io/block.hpp"
#include "stop.hpp"

namespace outcrop {

class BufferArena {
 public:
  // A piece of the arena, given back when it is destroyed. The arena must outlive it.
  class Lease {
   public:
    Lease() = default;
    Lease(Lease&& other) noexcept;
    Lease& operator=(Lease&& other) noexcept;
    ~Lease() { reset(); }

    std::byte* data() const { return data_; }
    size_t size() const { return size_; }  // a multiple of 4096, at least what was asked
    explicit operator bool() const { return data_ != nullptr; }
    void reset();

   private:
    friend class BufferArena;
    Lease(BufferArena* arena, std::byte* data, size_t size) : arena_(arena), data_(data), size_(size) {}

    BufferArena* arena_ = nullptr;
    std::byte* data_ = nullptr;
    size_t size_ = 0;
  };

  // capacity_bytes is rounded up to whole blocks. Throws InvalidArgument for 0, ResourceExhausted when the address
  // space cannot be had.
  explicit BufferArena(size_t capacity_bytes);
  ~BufferArena();
  BufferArena(const BufferArena&) = delete;
  BufferArena& operator=(const BufferArena&) = delete;

  // 4096-aligned room for `bytes`, or an empty lease when no free piece is long enough (also for 0 bytes). Never waits.
  // Any thread. First fit, so that the low pages are used again and again and the high ones stay unbacked.
  Lease try_lease(size_t bytes);

  // The same for 1 to capacity() bytes, but waits until there is such a piece. Only for who holds no lease: the others
  // give theirs back without waiting for anybody. Throws what `stop` says.
  Lease lease(size_t bytes, const Stop& stop);
  // Whether somebody waits: who holds leases should give some back before taking more.
  bool is_awaited() const { return num_waiting_.load(std::memory_order_relaxed) > 0; }

  size_t capacity() const { return capacity_; }
  size_t in_use() const;
  size_t peak() const;  // the most that was ever in use

  std::byte* base() const { return base_; }
  size_t size() const { return capacity_; }
  bool contains(const std::byte* data, size_t bytes) const;

 private:
  Lease take(size_t wanted);
  void give_back(std::byte* data, size_t size);

  std::byte* base_ = nullptr;
  size_t capacity_ = 0;
  mutable std::mutex mutex_;
  std::condition_variable given_back_;
  std::atomic<size_t> num_waiting_{0};
  std::map<size_t, size_t> free_;  // offset -> length of each free piece; no two touch
  size_t in_use_ = 0;
  size_t peak_ = 0;
};

}  // namespace outcrop
