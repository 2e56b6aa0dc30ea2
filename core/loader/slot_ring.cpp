#include "loader/slot_ring.hpp"

#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <chrono>
#include <string>
#include <utility>

#include "error.hpp"

namespace outcrop {
namespace {

using Clock = std::chrono::steady_clock;

uint64_t ns_since(Clock::time_point begin) {
  return static_cast<uint64_t>(std::chrono::nanoseconds(Clock::now() - begin).count());
}

std::unique_ptr<Slot> make_slot(const SlotSizes& sizes) {
  auto slot = std::make_unique<Slot>();
  slot->record = PageBuffer(sizes.record_bytes);
  for (const SlotSizes::Stream& stream : sizes.streams) {
    const PageBuffer& coded = slot->coded.emplace_back(stream.coded_bytes);
    const PageBuffer& decoded = slot->decoded.emplace_back(stream.decoded_bytes);
    slot->tensors.push_back({coded.data(), coded.size(), reinterpret_cast<float*>(decoded.data())});
  }
  return slot;
}

}  // namespace

uint64_t SlotSizes::total_bytes() const {
  uint64_t bytes = round_up_to_block(record_bytes);
  for (const Stream& stream : streams)
    bytes += round_up_to_block(stream.coded_bytes) + round_up_to_block(stream.decoded_bytes);
  return bytes;
}

SlotRing::SlotRing(size_t num_slots, const SlotSizes& sizes) : process_(getpid()) {
  if (num_slots == 0) throw InvalidArgument("loader: at least one slot is needed");
  while (slots_.size() < num_slots) {
    slots_.push_back(make_slot(sizes));
    free_.push_back(slots_.back().get());
  }
}

Slot* SlotRing::take_free(uint64_t position, bool wait) {
  std::unique_lock lock(mutex_);
  if (wait && free_.empty() && !stopped_) {
    const auto begin = Clock::now();
    freed_.wait(lock, [this] { return stopped_ || !free_.empty(); });
    ++counters_.producer_waits;
    counters_.producer_ns += ns_since(begin);
  }
  if (stopped_ || free_.empty()) return nullptr;
  Slot* slot = free_.back();  // the last one used, whose pages are the most likely to be there
  free_.pop_back();
  slot->position = position;
  slot->parsed = slot->arrived = false;
  assembling_.push_back(slot);
  return slot;
}

void SlotRing::set_parsed(Slot& slot) {
  std::lock_guard lock(mutex_);
  slot.parsed = true;
  progressed_.notify_one();
}

void SlotRing::set_arrived(Slot& slot) {
  std::lock_guard lock(mutex_);
  slot.arrived = true;
  progressed_.notify_one();
}

Slot* SlotRing::wait_parsed() {
  std::unique_lock lock(mutex_);
  progressed_.wait(lock, [this] { return stopped_ || (!assembling_.empty() && assembling_.front()->parsed); });
  return stopped_ ? nullptr : assembling_.front();
}

bool SlotRing::wait_arrived(Slot& slot) {
  std::unique_lock lock(mutex_);
  if (!slot.arrived && !stopped_) {
    const auto begin = Clock::now();
    progressed_.wait(lock, [&] { return stopped_ || slot.arrived; });
    ++counters_.assembler_waits;
    counters_.assembler_ns += ns_since(begin);
  }
  return !stopped_;
}

void SlotRing::set_ready(Slot& slot) {
  std::lock_guard lock(mutex_);
  assert(assembling_.front() == &slot);
  assembling_.pop_front();
  ready_.push_back(&slot);
  made_ready_.notify_one();
}

SlotRing::Outcome SlotRing::next(uint64_t end_position, int64_t timeout_ms, Slot*& slot) {
  std::unique_lock lock(mutex_);
  const size_t found = ready_.size();
  const bool at_end = counters_.minibatches >= end_position;
  if (found == 0 && !stopped_ && !at_end && num_held_ < slots_.size()) {
    const auto begin = Clock::now();
    made_ready_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [this] { return stopped_ || !ready_.empty(); });
    counters_.consumer_ns += ns_since(begin);
    if (ready_.empty() && !stopped_) return Outcome::late;
    ++counters_.consumer_waits;
  }
  if (!ready_.empty()) {
    slot = ready_.front();
    ready_.pop_front();
    ++num_held_;
    ++counters_.minibatches;
    counters_.ready_sum += found;
    return Outcome::ready;
  }
  if (error_) std::rethrow_exception(error_);
  if (at_end) return Outcome::end;
  if (stopped_) throw InvalidArgument("loader: it has been closed");
  return Outcome::held;
}

void SlotRing::release(Slot& slot) {
  if (getpid() != process_) return;  // after a fork the mutex may be locked for ever, and nobody reads here
  std::lock_guard lock(mutex_);
  assert(num_held_ > 0);
  --num_held_;
  free_.push_back(&slot);
  freed_.notify_one();
}

void SlotRing::stop() {
  std::lock_guard lock(mutex_);
  stopped_ = true;
  freed_.notify_all();
  progressed_.notify_all();
  made_ready_.notify_all();
}

void SlotRing::fail(std::exception_ptr error) {
  {
    std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
  }
  stop();
}

bool SlotRing::stopped() const {
  std::lock_guard lock(mutex_);
  return stopped_;
}

RingCounters SlotRing::counters() const {
  std::lock_guard lock(mutex_);
  return counters_;
}

size_t SlotRing::num_held() const {
  std::lock_guard lock(mutex_);
  return num_held_;
}

size_t SlotRing::num_ready() const {
  std::lock_guard lock(mutex_);
  return ready_.size();
}

uint64_t SlotRing::position() const {
  std::lock_guard lock(mutex_);
  return counters_.minibatches;
}

}  // namespace outcrop
