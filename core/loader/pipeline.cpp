#include "loader/pipeline.hpp"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "error.hpp"
#include "tiers/row_reads.hpp"

namespace outcrop {
namespace {

using Clock = std::chrono::steady_clock;

uint64_t ns_between(Clock::time_point begin, Clock::time_point end) {
  return static_cast<uint64_t>(std::chrono::nanoseconds(end - begin).count());
}

// A read's tag: the slot's address has its low bits free.
enum class Part : uint64_t { record = 0, rows = 1 };

uint64_t tag_of(const Slot& slot, Part part) { return reinterpret_cast<uint64_t>(&slot) | static_cast<uint64_t>(part); }
Slot& slot_of(uint64_t tag) { return *reinterpret_cast<Slot*>(tag & ~uint64_t{1}); }
Part part_of(uint64_t tag) { return static_cast<Part>(tag & 1); }

SlotSizes sizes_of(const std::vector<Assembler>& assemblers, const PipelineOptions& options) {
  if (options.max_rows.size() != assemblers.size())
    throw InvalidArgument("loader: " + std::to_string(assemblers.size()) + " streams and the largest minibatch of " +
                          std::to_string(options.max_rows.size()));
  SlotSizes sizes{options.max_record_bytes, {}};
  for (size_t i = 0; i < assemblers.size(); ++i)
    sizes.streams.push_back(
        {assemblers[i].coded_bytes(options.max_rows[i]), assemblers[i].decoded_bytes(options.max_rows[i])});
  return sizes;
}

// Threads inherit the mask of who starts them: signals are for the threads of the application.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

uint64_t bytes_in(const std::vector<RowExtent>& extents) {
  uint64_t bytes = 0;
  for (const RowExtent& extent : extents) bytes += extent.bytes;
  return bytes;
}

}  // namespace

Pipeline::Pipeline(std::shared_ptr<BlockReader> reader, std::unique_ptr<Feed> feed, std::vector<Assembler> assemblers,
                   const PipelineOptions& options)
    : process_(getpid()),
      reader_(std::move(reader)),
      feed_(std::move(feed)),
      assemblers_(std::move(assemblers)),
      options_(options),
      end_(feed_->num_minibatches()),
      ring_(std::make_shared<SlotRing>(options.num_slots, sizes_of(assemblers_, options))) {
  if (options.start > end_)
    throw InvalidArgument("loader: start " + std::to_string(options.start) + " is behind the last of " +
                          std::to_string(end_) + " minibatches");
  counters_.streams.resize(assemblers_.size());
  const SignalsBlocked blocked;
  try {
    threads_.emplace_back([this] { read_ahead(); });
    threads_.emplace_back([this] { assemble_all(); });
  } catch (const std::system_error& error) {
    close();
    throw StorageFailure(error.code().value(), std::string("loader: cannot start a thread: ") + error.what());
  }
}

Pipeline::~Pipeline() { close(); }

uint64_t Pipeline::buffer_bytes(const std::vector<Assembler>& assemblers, const PipelineOptions& options) {
  return options.num_slots * sizes_of(assemblers, options).total_bytes() +
         std::max(options.bounce_bytes, RowReads::kLeastBounceBytes);
}

void Pipeline::close() {
  if (getpid() != process_) {
    // A fork has no threads to join, and what they held locked or waited for stays so: destroying it would wait for
    // ever. What is left here is lost memory.
    new std::vector<std::thread>(std::move(threads_));
    new std::shared_ptr<SlotRing>(ring_);
    return;
  }
  ring_->stop();
  std::lock_guard lock(close_mutex_);
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

Pipeline::Next Pipeline::next(int64_t timeout_ms) {
  if (getpid() != process_) throw InvalidArgument("loader: it was opened in another process; open one after the fork");
  Slot* slot = nullptr;
  switch (ring_->next(end_ - options_.start, timeout_ms, slot)) {
    case SlotRing::Outcome::ready:
      return {std::make_shared<LoadedMinibatch>(ring_, *slot), false};
    case SlotRing::Outcome::late:
      return {nullptr, true};
    case SlotRing::Outcome::end:
      return {nullptr, false};
    case SlotRing::Outcome::held:
      break;
  }
  throw ResourceExhausted("loader: all " + std::to_string(ring_->num_slots()) +
                          " slots hold minibatches that are still referenced: let go of earlier minibatches and their "
                          "arrays, copy what is to be kept, or ask for more slots");
}

PipelineCounters Pipeline::counters() const {
  std::lock_guard lock(counters_mutex_);
  PipelineCounters counters = counters_;
  counters.ring = ring_->counters();
  return counters;
}

// ---- the I/O thread

void Pipeline::read_ahead() try {
  RowReads reads(reader_, options_.bounce_bytes);
  uint64_t position = options_.start;
  while (!ring_->stopped() && (position < end_ || !reads.idle())) {
    if (position < end_) {
      if (Slot* slot = ring_->take_free(position, reads.idle())) {
        start_record(*slot, reads);
        ++position;
        continue;
      }
    }
    if (reads.idle()) continue;  // stopped while it waited
    const std::vector<uint64_t> finished = reads.pump();
    count(reads.counts());  // before the caller can have what was read
    for (const uint64_t tag : finished) {
      Slot& slot = slot_of(tag);
      if (part_of(tag) == Part::record)
        take_record(slot, reads);
      else if (--slot.reads_left == 0)
        ring_->set_arrived(slot);
    }
  }
} catch (...) {
  ring_->fail(std::current_exception());
}

void Pipeline::count(const RowReadCounts& reads) {
  std::lock_guard lock(counters_mutex_);
  counters_.device_reads = reads.reads;
  counters_.device_bytes = reads.bytes;
}

void Pipeline::start_record(Slot& slot, RowReads& reads) {
  const RecordPlace place = feed_->record(slot.position);
  slot.record_bytes = place.bytes;
  std::vector<PlacedRead> record;
  if (place.bytes > 0) {
    const RowExtent extent{place.file, place.offset, 0, place.bytes};
    record = place_reads({&extent, 1}, {}, slot.record.size());
  }
  // Before the rows of earlier minibatches, so that this one's rows can follow them without a pause.
  reads.add(tag_of(slot, Part::record), std::move(record), slot.record.data(), true);
}

void Pipeline::take_record(Slot& slot, RowReads& reads) {
  feed_->recipes(slot.position, {slot.record.data(), slot.record_bytes}, slot.feed);
  slot.reads_left = assemblers_.size();
  std::vector<std::vector<PlacedRead>> placed;
  for (size_t i = 0; i < assemblers_.size(); ++i) {
    check_size(slot, i);
    assemblers_[i].check(slot.feed.recipes[i]);
    placed.push_back(assemblers_[i].placed(slot.feed.recipes[i], slot.tensors[i]));
  }
  for (size_t i = 0; i < assemblers_.size(); ++i)
    reads.add(tag_of(slot, Part::rows), std::move(placed[i]), slot.tensors[i].coded);
  if (assemblers_.empty()) ring_->set_arrived(slot);
  ring_->set_parsed(slot);
}

void Pipeline::check_size(const Slot& slot, size_t stream) const {
  const uint64_t num_rows = slot.feed.recipes[stream].num_rows, most = options_.max_rows[stream];
  if (num_rows > most)
    throw CorruptFile("loader: minibatch " + std::to_string(slot.position) + " has " + std::to_string(num_rows) +
                      " rows of stream " + std::to_string(stream) + ", the largest was to have " +
                      std::to_string(most));
}

// ---- the assembling thread

void Pipeline::assemble_all() try {
  for (uint64_t position = options_.start; position < end_; ++position) {
    Slot* slot = ring_->wait_parsed();
    if (slot == nullptr) return;
    assemble(*slot);
    if (ring_->stopped()) return;
    count(*slot);
    ring_->set_ready(*slot);
  }
} catch (...) {
  ring_->fail(std::current_exception());
}

void Pipeline::assemble(Slot& slot) {
  const auto begin = Clock::now();
  for (size_t i = 0; i < assemblers_.size(); ++i) assemblers_[i].gather(slot.feed.recipes[i], slot.tensors[i]);
  const auto gathered = Clock::now();
  if (!ring_->wait_arrived(slot)) return;
  const auto arrived = Clock::now();
  for (size_t i = 0; i < assemblers_.size(); ++i) assemblers_[i].finish(slot.feed.recipes[i], slot.tensors[i]);
  std::lock_guard lock(counters_mutex_);
  counters_.gather_ns += ns_between(begin, gathered);
  counters_.finish_ns += ns_between(arrived, Clock::now());
}

void Pipeline::count(const Slot& slot) {
  std::lock_guard lock(counters_mutex_);
  for (size_t i = 0; i < assemblers_.size(); ++i) {
    const Recipe& recipe = slot.feed.recipes[i];
    StreamCounters& stream = counters_.streams[i];
    stream.hit_rows += recipe.hit_rows.size();
    stream.log_rows += bytes_in(recipe.extents) / assemblers_[i].format().row_bytes;
    stream.master_rows += recipe.master_rows.size();
    stream.inserted_rows += recipe.insert_rows.size();
  }
}

}  // namespace outcrop
