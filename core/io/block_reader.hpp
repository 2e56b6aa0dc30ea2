// Reads of whole blocks, many in flight. One interface, three implementations, chosen once at open: io_uring, a pool of
// threads that call pread, and files held in memory. All give the same bytes and the same errors.
//
//   auto reader = BlockReader::open({});
//   uint32_t file = reader->add_file(path);
//   auto queue = reader->make_queue(&arena);       // one per thread
//   queue->submit(requests);                       // never waits
//   size_t n = queue->wait(1, completions);        // then look at every completion's error
//
// A reader and its queues do not cross a fork.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "io/block.hpp"

namespace outcrop {

class BufferArena;
class FileTable;
class ReadFaults;
struct ReadCounters;

enum class ReaderKind { automatic, io_uring, pread, memory };

const char* to_string(ReaderKind kind);
ReaderKind parse_reader_kind(const std::string& name);  // "auto" or a name above; throws InvalidArgument

struct ReaderOptions {
  ReaderKind kind = ReaderKind::automatic;
  uint32_t queue_depth = 64;  // reads in flight per queue, 1 to 4096
  uint32_t num_threads = 8;   // of the pread pool, shared by all queues of a reader, 1 to 256
  bool direct = true;  // O_DIRECT; a file on a file system that refuses it is read through the page cache, and noted
  std::shared_ptr<ReadFaults> faults = nullptr;  // for tests
};

// offset and length are multiples of 4096, the buffer is 4096-aligned and stays the reader's until the completion.
struct ReadRequest {
  uint32_t file;
  uint64_t offset;
  uint32_t length;
  std::byte* buffer;
  uint64_t tag;  // the caller's; comes back in the completion
};

inline constexpr int kEndOfFile = -1;

struct ReadCompletion {
  uint64_t tag;
  int error;  // 0: all bytes are there. An errno, or kEndOfFile when the file is shorter than asked.
};

// Owned by one thread at a time. Its destructor waits for what is in flight, since the device writes into the caller's
// buffers until then.
class ReadQueue {
 public:
  virtual ~ReadQueue() = default;

  virtual size_t capacity() const = 0;
  virtual size_t in_flight() const = 0;  // submitted and not yet handed out by wait
  size_t room() const { return capacity() - in_flight(); }

  // Starts the reads and returns. Never blocks for room: more than room() requests, an unknown file or a misaligned
  // request throw InvalidArgument and start nothing. Whatever the device says comes with the completion.
  virtual void submit(std::span<const ReadRequest> requests) = 0;

  // Fills `completions` from its begin, in any order, and returns how many. Blocks until there are min(at_least,
  // in_flight(), completions.size()); 0 only looks.
  virtual size_t wait(size_t at_least, std::span<ReadCompletion> completions) = 0;
};

struct ReaderStatistics {
  uint64_t reads = 0;        // completed requests
  uint64_t bytes = 0;        // of those that succeeded
  uint64_t errors = 0;       // requests that completed with an error
  uint64_t short_reads = 0;  // answers of the device shorter than asked, finished by reading the rest
  uint64_t resubmits = 0;    // answers after which a request was given to the device again
};

class BlockReader {
 public:
  // Throws InvalidArgument for options out of range, StorageFailure when the asked kind cannot be had here. `automatic`
  // takes what the environment variable OUTCROP_READER names, else io_uring where it works, else pread.
  static std::shared_ptr<BlockReader> open(const ReaderOptions& options = {});
  virtual ~BlockReader();

  ReaderKind kind() const { return kind_; }
  const std::string& reason() const { return reason_; }  // why this kind, in words
  const ReaderOptions& options() const { return options_; }
  ReaderStatistics statistics() const;

  // What was asked for and could not be had, in words: O_DIRECT of a file, registered buffers. Empty when all is well.
  std::vector<std::string> notes() const;

  // Ids are not used again. Any thread. add_file throws StorageFailure. Reads in flight outlive remove_file.
  uint32_t add_file(const std::string& path);
  void remove_file(uint32_t file);
  std::string path(uint32_t file) const;
  uint64_t file_bytes(uint32_t file) const;  // as of add_file

  // `registered`: the arena that most reads go to, registered with the kernel where that works; null for none. Reads
  // into other memory work as well. The arena must outlive the queue; the reader need not. Throws StorageFailure.
  virtual std::unique_ptr<ReadQueue> make_queue(BufferArena* registered) = 0;

  // Idle queues without registered buffers, kept for short jobs, since a ring costs more to make than a few reads.
  std::unique_ptr<ReadQueue> take_queue();
  void give_back(std::unique_ptr<ReadQueue> queue);  // a queue with reads in flight is drained and dropped

 protected:
  BlockReader(ReaderKind kind, const ReaderOptions& options, bool keep_in_memory);

  const ReaderKind kind_;
  const ReaderOptions options_;
  const std::shared_ptr<FileTable> files_;
  const std::shared_ptr<ReadCounters> counters_;

 private:
  std::string reason_;
  std::mutex idle_mutex_;
  std::vector<std::unique_ptr<ReadQueue>> idle_;
};

}  // namespace outcrop
