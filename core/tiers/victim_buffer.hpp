// Rows that leave memory, or never enter it, although a coming request will ask for them: the victim buffer keeps them
// in that request's inbox, and the request finds them together instead of one by one in the master file. After the
// Preemptive Victim-buffer Prefetcher of LSM-GNN (arXiv 2407.15264), with a scratch file on SSD below the part in
// memory.
//
//   put(t, key, row)...        rows bound for request t, while earlier requests are served
//   prefetch(t)                soon before t: the inbox's extents begin to come back, in long sequential reads
//   take(t, consume)           its rows, once; then its room in memory and on disk is used again
//
// An inbox is a chain of extents of at least 256 KiB. When memory runs short, the full extents of the request that is
// farthest away are written out first, so what is needed next is mostly still in memory. Nothing here is durable.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "io/buffer_arena.hpp"
#include "tiers/scratch_file.hpp"

namespace outcrop {

struct VictimBufferOptions {
  uint64_t row_bytes = 0;
  uint64_t memory_bytes = 0;           // of extents held in memory; at least kFewestBuffers of them
  uint64_t disk_bytes = 0;             // of the scratch file; 0: none, what does not fit in memory is refused
  std::string folder;                  // of the scratch file
  uint32_t extent_bytes = 256 * 1024;  // grown to hold at least 16 rows
  ScratchFaults faults = {};           // for tests
};

struct VictimStatistics {
  uint64_t rows_put = 0, rows_refused = 0;      // refused: the budgets were full
  uint64_t rows_taken = 0, rows_from_disk = 0;  // of those taken, the ones that had been written out
  uint64_t rows_dropped = 0, rows_waiting = 0;  // dropped: of requests passed over; waiting: put and not yet taken
  uint64_t bytes_written = 0, bytes_read = 0, writes = 0, reads = 0;  // of the scratch file
  uint64_t memory_bytes = 0, disk_bytes = 0;                          // in use now
  uint64_t peak_memory_bytes = 0, peak_disk_bytes = 0;
  bool direct = false;                     // whether the scratch file goes around the page cache
  uint64_t put_waits = 0, take_waits = 0;  // times that waited for the device
  uint64_t put_wait_us = 0, take_wait_us = 0;
};

// Owned by one thread at a time, except statistics(). Threads of its own write and read.
class VictimBuffer {
 public:
  static constexpr uint32_t kFewestBuffers = 4;
  static constexpr uint32_t kFarthest = 1u << 20;  // how far ahead of the next inbox a request may be

  using Consumer = std::function<void(std::span<const uint32_t> keys, const std::byte* rows)>;  // rows lie tightly

  // What an extent will be for rows of this width, and the least memory that works.
  static uint32_t extent_bytes_for(uint64_t row_bytes, uint32_t extent_bytes);

  // Throws InvalidArgument for budgets below the least that works, ResourceExhausted when memory or disk refuse,
  // StorageFailure.
  explicit VictimBuffer(const VictimBufferOptions& options);
  ~VictimBuffer();
  VictimBuffer(const VictimBuffer&) = delete;
  VictimBuffer& operator=(const VictimBuffer&) = delete;

  // Copies the row to the inbox of `request`. False when the budgets have no room: the row is dropped. May wait for a
  // write. Throws InvalidArgument when the inbox was taken already, and, as all calls do from then on, what went wrong
  // in a write or read.
  bool put(uint32_t request, uint32_t key, const std::byte* row);

  // Starts to bring the inbox back, as far as memory allows. Never waits.
  void prefetch(uint32_t request);

  // Calls `consume` for the inbox's rows, extent by extent, in no stated order. Inboxes of earlier requests that were
  // never asked for are dropped. Throws InvalidArgument when it was taken already, CorruptFile, StorageFailure.
  void take(uint32_t request, const Consumer& consume);

  // Whether `put` may write extents out to make room; true at first. Where a row costs more to write and read back than
  // to fetch again, only memory is worth having.
  void set_spilling(bool spilling) { spilling_ = spilling; }

  uint64_t rows_of(uint32_t request) const;    // waiting in that inbox
  uint64_t room_rows(bool on_disk_too) const;  // what free extents hold, less what reading keeps for itself
  uint64_t row_bytes() const { return row_bytes_; }
  uint32_t extent_bytes() const { return extent_bytes_; }
  VictimStatistics statistics() const;

 private:
  enum class Place { open, full, to_write, writing, on_disk, to_read, reading, ready };

  struct Piece {
    BufferArena::Lease buffer;  // empty while on disk
    uint32_t num_rows = 0;
    uint32_t extent = ScratchFile::kNone;
    uint32_t checksum = 0;
    uint64_t serial = 0;  // of the write, and part of the checksum: an old extent in a new one's place fails
    Place place = Place::open;
    bool pinned = false;  // the owner reads the buffer; a write that ends must not release it
  };

  struct Inbox {
    Piece* open = nullptr;  // of pieces.back(); touched by the owner alone, without the lock
    uint32_t last_extent = ScratchFile::kNone;
    uint64_t num_rows = 0;
    std::vector<std::unique_ptr<Piece>> pieces;
    std::vector<Piece*> full;  // those that may be written out
  };

  // Functions below `open_piece` are called with the lock held.
  Inbox& inbox_of(uint32_t request, const char* what);
  bool open_piece(Inbox& inbox);
  void close_piece(Inbox& inbox);
  BufferArena::Lease lease_buffer(uint32_t keep_free);
  bool spill_one();
  void spill(Inbox& inbox, Piece& piece);
  void start_reads(Inbox& inbox, uint32_t keep_free);
  std::unique_ptr<Piece>* next_in_memory(Inbox& inbox);
  void consume_piece(std::unique_ptr<Piece>& piece, const Consumer& consume, std::unique_lock<std::mutex>& lock);
  void unqueue(Piece& piece);
  void release(std::unique_ptr<Piece>& piece, std::unique_lock<std::mutex>& lock);
  void drop(Inbox& inbox, std::unique_lock<std::mutex>& lock);
  void wait(std::unique_lock<std::mutex>& lock, uint64_t& waits, uint64_t& us);
  void check_failed() const;
  uint32_t* keys_of(const Piece& piece) const;

  // The threads.
  void write_loop();
  void read_loop();
  void write_run(std::span<Piece* const> run);
  void read_run(std::span<Piece* const> run);
  void stop();

  const uint64_t row_bytes_;
  const uint32_t extent_bytes_;
  const uint32_t rows_per_extent_;
  const uint32_t num_buffers_;
  const uint32_t num_reading_;  // of them, for the next inbox alone
  BufferArena arena_;
  std::unique_ptr<ScratchFile> file_;  // none without a disk budget

  uint32_t first_ = 0;  // the request of inboxes_.front()
  std::deque<Inbox> inboxes_;
  bool spilling_ = true;
  std::atomic<uint64_t> rows_put_{0}, rows_refused_{0};

  mutable std::mutex mutex_;          // guards all below, the places of pieces, and the file's free extents
  std::condition_variable changed_;   // for the owner
  std::condition_variable to_write_;  // for the writers
  std::condition_variable to_read_;   // for the reader
  std::deque<Piece*> write_queue_, read_queue_;
  uint32_t buffers_in_use_ = 0, buffers_being_written_ = 0;
  uint64_t next_serial_ = 0;
  std::exception_ptr error_;
  bool stopping_ = false;
  VictimStatistics counts_;
  std::vector<std::thread> threads_;
};

}  // namespace outcrop
