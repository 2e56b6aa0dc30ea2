// Extents of files on their way to the tensors of minibatches, many reads in flight, of several minibatches at once.
//
//   RowReads reads(reader, bounce_bytes);
//   reads.add(7, place_reads(extents), tensor);      // tensors stay where they are until 7 is finished
//   while (!reads.idle()) for (uint64_t tag : reads.pump()) ...;
//
// Blocks that lie wholly in an extent congruent to its place are read there. The others (at the edges, of extents that
// are not congruent, of single rows) come to a buffer of their own and are copied. Every block is checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "io/block_file.hpp"
#include "io/buffer_arena.hpp"
#include "tiers/recipe.hpp"

namespace outcrop {

struct RowCopy {
  uint64_t offset;  // in the file's payload
  uint64_t out_offset;
  uint64_t bytes;
};

// One read of whole blocks: into the tensor when there is nothing to copy, else by way of a buffer.
struct PlacedRead {
  const BlockFile* file;
  Extent blocks;
  uint64_t out_offset;          // of the first block, when it is read in place
  std::vector<RowCopy> copies;  // empty: in place
};

// Single rows of a feature file, merged across gaps of up to gap_bytes.
struct MasterRows {
  const BlockFile* file = nullptr;
  uint64_t row_bytes = 0;
  uint64_t gap_bytes = 0;
  std::span<const uint32_t> rows, keys;  // as in Recipe
};

// Reads for all extents and rows, by file and offset. out_bytes: of the tensor, a multiple of 4096 counted from an
// aligned begin. Throws InvalidArgument when an extent passes the end of its file or of the tensor.
std::vector<PlacedRead> place_reads(std::span<const RowExtent> extents, const MasterRows& master, uint64_t out_bytes);

struct RowReadCounts {
  uint64_t reads = 0, bytes = 0;  // of the device
};

// Owned by one thread. Its destructor waits for what is in flight.
class RowReads {
 public:
  // Longer reads are no faster. A quarter as much in flight keeps the device busy on a quiet machine; on a busy one,
  // the reading thread is off its core for longer than that lasts. Of short reads there are as many as the queue takes.
  static constexpr uint64_t kReadBytes = uint64_t{1} << 20;
  static constexpr uint64_t kBytesInFlight = 32 * kReadBytes;

  // All files must have been opened by `reader`. bounce_bytes: of the buffer for blocks not read in place, at least
  // kLeastBounceBytes.
  static constexpr size_t kLeastBounceBytes = size_t{256} << 10;
  RowReads(std::shared_ptr<BlockReader> reader, size_t bounce_bytes);
  ~RowReads();
  RowReads(const RowReads&) = delete;
  RowReads& operator=(const RowReads&) = delete;

  // Reads are started in the order of add, urgent ones before all others. `tag` comes back when all have arrived. A job
  // without reads is finished at once, by the next pump.
  void add(uint64_t tag, std::vector<PlacedRead> reads, std::byte* out, bool urgent = false);

  bool idle() const { return jobs_.empty(); }  // nothing added that has not been given back by pump

  // Starts what there is room for, waits for a completion unless a job is finished already, and returns the tags of
  // finished jobs. Throws CorruptFile, StorageFailure.
  std::vector<uint64_t> pump();

  const RowReadCounts& counts() const { return counts_; }

 private:
  struct Job {
    uint64_t tag;
    std::vector<PlacedRead> reads;
    std::byte* out;
    size_t next = 0;       // the first read not yet started
    size_t remaining = 0;  // reads that have not arrived
  };
  struct InFlight {
    Job* job = nullptr;
    size_t read = 0;
    BufferArena::Lease lease;  // empty: in place
  };

  void start();
  bool start_next(Job& job);
  void arrived(const ReadCompletion& completion);
  void drain();

  std::shared_ptr<BlockReader> reader_;
  BufferArena bounce_;
  std::unique_ptr<ReadQueue> queue_;
  std::deque<std::unique_ptr<Job>> jobs_;  // in the order they are started
  std::vector<InFlight> in_flight_;        // by the tag of a read
  std::vector<uint32_t> free_;             // of in_flight_
  std::vector<uint64_t> finished_;
  uint64_t bytes_in_flight_ = 0;
  RowReadCounts counts_;
};

}  // namespace outcrop
