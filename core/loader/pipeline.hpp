// Minibatches in order, ahead of the caller: one thread reads records and rows, one (with helpers) gathers hits,
// decodes and updates the cache. The caller waits only for what could not have been read earlier; how often is counted.
//
//   feed --> I/O thread: record, then rows, into a free slot --> assembling thread: hits, inserts --> next()
//               ^                                                                                        |
//               +---------------------- the slot comes back when the caller lets go --------------------+
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "io/block_reader.hpp"
#include "loader/feed.hpp"
#include "loader/slot_ring.hpp"
#include "tiers/assembler.hpp"

namespace outcrop {

struct PipelineOptions {
  size_t num_slots = 3;
  uint64_t start = 0;                     // the first position
  uint64_t max_record_bytes = 0;          // of any record
  std::vector<uint64_t> max_rows;         // of any minibatch, by stream
  size_t bounce_bytes = size_t{1} << 20;  // for blocks that are not read in place
};

// Counted by stream. Bytes are of coded rows.
struct StreamCounters {
  uint64_t hit_rows = 0, log_rows = 0, master_rows = 0, inserted_rows = 0;
};

struct PipelineCounters {
  RingCounters ring;
  std::vector<StreamCounters> streams;
  uint64_t device_reads = 0, device_bytes = 0;
  uint64_t gather_ns = 0, finish_ns = 0;  // of the assembling thread: hits; decoding and inserts
};

class Pipeline {
 public:
  // Starts to read at once. All files of the feed and the assemblers belong to `reader`. Throws InvalidArgument.
  Pipeline(std::shared_ptr<BlockReader> reader, std::unique_ptr<Feed> feed, std::vector<Assembler> assemblers,
           const PipelineOptions& options);
  ~Pipeline();
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  // Bytes that a pipeline of these options maps, without the assemblers' slabs.
  static uint64_t buffer_bytes(const std::vector<Assembler>& assemblers, const PipelineOptions& options);

  struct Next {
    std::shared_ptr<LoadedMinibatch> minibatch;  // null: see `late`
    bool late = false;                           // nothing was ready in time: ask again. Else all have been given out
  };

  // One thread at a time. Throws ResourceExhausted when the caller holds all slots, what a thread of the pipeline
  // threw, and InvalidArgument after close().
  Next next(int64_t timeout_ms);

  // Ends the threads, within one device read. Minibatches in the caller's hands stay valid. Twice is allowed, and any
  // thread.
  void close();

  PipelineCounters counters() const;
  size_t num_ready() const { return ring_->num_ready(); }

 private:
  void read_ahead();
  void start_record(Slot& slot, RowReads& reads);
  void take_record(Slot& slot, RowReads& reads);
  void check_size(const Slot& slot, size_t stream) const;
  void assemble_all();
  void assemble(Slot& slot);
  void count(const Slot& slot);
  void count(const RowReadCounts& reads);

  const pid_t process_;
  const std::shared_ptr<BlockReader> reader_;
  const std::unique_ptr<Feed> feed_;
  const std::vector<Assembler> assemblers_;
  const PipelineOptions options_;
  const uint64_t end_;
  const std::shared_ptr<SlotRing> ring_;
  mutable std::mutex counters_mutex_;
  PipelineCounters counters_;
  std::mutex close_mutex_;
  std::vector<std::thread> threads_;
};

}  // namespace outcrop
