// The bounded memory of a pipeline: each slot holds one minibatch, its record and its tensors, and goes round from free
// to reading, assembling, ready, held by the caller, and free again. Buffers are mapped once and used again.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "io/page_buffer.hpp"
#include "loader/feed.hpp"
#include "tiers/assembler.hpp"

namespace outcrop {

struct Slot {
  uint64_t position = 0;
  PageBuffer record;
  uint64_t record_bytes = 0;
  std::vector<PageBuffer> coded, decoded;  // by stream
  std::vector<RowTensor> tensors;
  FeedRecipes feed;
  size_t reads_left = 0;  // streams whose rows have not arrived; the I/O thread's
  bool parsed = false;    // the recipes are known; under the ring's mutex, as what follows
  bool arrived = false;   // and all reads are done
};

// How large the parts of a slot are.
struct SlotSizes {
  uint64_t record_bytes = 0;
  struct Stream {
    uint64_t coded_bytes = 0, decoded_bytes = 0;
  };
  std::vector<Stream> streams;

  uint64_t total_bytes() const;  // of one slot
};

// Times in nanoseconds.
struct RingCounters {
  uint64_t minibatches = 0;                        // handed to the caller
  uint64_t consumer_waits = 0, consumer_ns = 0;    // next() had to wait
  uint64_t producer_waits = 0, producer_ns = 0;    // nothing to read, because the caller held or left all slots
  uint64_t assembler_waits = 0, assembler_ns = 0;  // rows had not arrived when the hits were gathered
  uint64_t ready_sum = 0;                          // of the ready minibatches found by each next()
};

class SlotRing {
 public:
  SlotRing(size_t num_slots, const SlotSizes& sizes);

  // ---- the I/O thread
  // A free slot, entered as the next to assemble; null when there is none, unless `wait`, and after stop().
  Slot* take_free(uint64_t position, bool wait);
  void set_parsed(Slot& slot);
  void set_arrived(Slot& slot);

  // ---- the assembling thread; null after stop()
  Slot* wait_parsed();            // the next in order
  bool wait_arrived(Slot& slot);  // false after stop()
  void set_ready(Slot& slot);

  // ---- the caller
  enum class Outcome { ready, late, end, held };
  // `held`: the caller has all slots, so none can become ready. `late`: not ready in time. Rethrows what a thread
  // threw, after the minibatches that were ready before.
  Outcome next(uint64_t end_position, int64_t timeout_ms, Slot*& slot);
  void release(Slot& slot);

  // ---- any thread
  void stop();
  void fail(std::exception_ptr error);  // stops
  bool stopped() const;
  RingCounters counters() const;
  size_t num_slots() const { return slots_.size(); }
  size_t num_held() const;
  size_t num_ready() const;
  uint64_t position() const;  // of the minibatch that next() gives next, counted from the first

 private:
  const pid_t process_;
  std::vector<std::unique_ptr<Slot>> slots_;
  mutable std::mutex mutex_;
  std::condition_variable freed_, progressed_, made_ready_;
  std::vector<Slot*> free_;
  std::deque<Slot*> assembling_, ready_;  // in order of position
  size_t num_held_ = 0;
  bool stopped_ = false;
  std::exception_ptr error_;
  RingCounters counters_;
};

// A minibatch in the caller's hands: its slot comes back when this goes away, at any time and in any thread, also after
// the pipeline has gone.
class LoadedMinibatch {
 public:
  LoadedMinibatch(std::shared_ptr<SlotRing> ring, Slot& slot) : ring_(std::move(ring)), slot_(slot) {}
  ~LoadedMinibatch() { ring_->release(slot_); }
  LoadedMinibatch(const LoadedMinibatch&) = delete;
  LoadedMinibatch& operator=(const LoadedMinibatch&) = delete;

  uint64_t position() const { return slot_.position; }
  std::span<const std::byte> record() const { return {slot_.record.data(), slot_.record_bytes}; }
  size_t num_streams() const { return slot_.tensors.size(); }
  uint64_t num_rows(size_t stream) const { return slot_.feed.recipes[stream].num_rows; }
  const RowTensor& tensor(size_t stream) const { return slot_.tensors[stream]; }

 private:
  const std::shared_ptr<SlotRing> ring_;
  Slot& slot_;
};

}  // namespace outcrop
