// Rows of one file behind one read, whichever tier holds them: a hot set, a cache that looks ahead, a victim buffer,
// and the file itself. Keys are row numbers; what a row means, and why requests come in this order, is the caller's.
//
//   reader.announce(keys)        as far ahead as the future is known; gives the request's number
//   reader.read(request, out)    the oldest announced request: its rows, in the order of its keys
//
// Rows that the cache cannot keep until the next announced request that needs them go to that request's inbox. Where it
// costs the device less, what several coming requests miss is read at once, in one sweep in file order (after AGNES,
// arXiv 2601.01473, and Ginex, VLDB 2022), and waits in their inboxes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "io/block_file.hpp"
#include "io/buffer_arena.hpp"
#include "tiers/hot_set.hpp"
#include "tiers/key_table.hpp"
#include "tiers/look_ahead.hpp"
#include "tiers/next_use_cache.hpp"
#include "tiers/page_set.hpp"
#include "tiers/row_scan.hpp"
#include "tiers/row_slab.hpp"
#include "tiers/victim_buffer.hpp"

namespace outcrop {

// Destinations of a sweep from here on are inboxes of later requests, the others rows of the request itself.
inline constexpr uint32_t kLaterRequests = 1u << 31;

struct TieredReaderOptions {
  uint64_t row_bytes = 0;
  uint64_t cache_rows = 0;
  std::vector<uint32_t> hot_keys;  // ascending; read when the reader is made
  VictimBufferOptions victim;      // memory_bytes 0: no victim buffer. row_bytes is filled in
  uint32_t longest_group = 8;      // requests whose misses may be read at once; 1: each alone
  RowScanOptions scan;
  DeviceCharge device;
};

struct TierStatistics {
  uint64_t requests = 0, rows = 0;
  // Where each row came from. Rows read ahead for a later request come from the victim buffer when it asks.
  uint64_t hot_rows = 0, cache_rows = 0, victim_rows = 0, master_rows = 0;
  uint64_t repeated_rows = 0;     // missed a second time in one request, and copied from the first
  uint64_t ahead_rows = 0;        // read from the master file for later requests
  uint64_t sweeps = 0;            // over the master file: requests, or groups, that read something of it
  uint64_t grouped_requests = 0;  // that were served by another's sweep
  uint64_t master_reads = 0, master_bytes = 0, master_pages = 0;
  uint64_t cache_inserts = 0;
  VictimStatistics victim;

  TierStatistics& operator+=(const TierStatistics& more);  // all but the victim buffer's
};

// announce and read: one thread at a time. statistics(): any thread.
class TieredReader {
 public:
  // num_rows: of the file; row k is payload bytes [k * row_bytes, (k + 1) * row_bytes). The arena is for reads and must
  // outlive the reader. Throws InvalidArgument, ResourceExhausted, CorruptFile, StorageFailure.
  TieredReader(std::shared_ptr<BlockFile> file, BufferArena& arena, uint64_t num_rows, TieredReaderOptions options);

  // What a reader with these options holds, without the victim buffer's memory and the announced keys.
  static uint64_t memory_bytes(uint64_t num_rows, const TieredReaderOptions& options);

  // Ranks rows that no announced request asks for: the higher score stays. One per row of the file.
  void set_scores(std::span<const uint16_t> scores) { cache_.set_scores(scores); }

  // keys may repeat and come in any order. Throws InvalidArgument for one that the file does not have.
  uint32_t announce(std::span<const uint32_t> keys);

  // out: row_bytes for each key of the request. Throws InvalidArgument when `request` is not the oldest announced one
  // or out has another size; CorruptFile, StorageFailure, ResourceExhausted: then no further request can be read.
  void read(uint32_t request, std::span<std::byte> out);

  size_t window() const { return window_.size(); }
  uint64_t row_bytes() const { return options_.row_bytes; }
  TierStatistics statistics() const;

 private:
  struct Announced {
    std::vector<uint32_t> keys;                      // all but hot ones
    std::vector<uint32_t> rows;                      // where each stands in the request; empty: at its own position
    std::vector<std::pair<uint32_t, uint32_t>> hot;  // slot, row
    std::vector<uint32_t> first_uses;  // keys that no tier holds and no earlier request of the window wants
    double alone_us = 0;               // what the device charges for reading those by themselves
    size_t num_rows() const { return keys.size() + hot.size(); }
    uint32_t row_of(uint32_t index) const { return rows.empty() ? index : rows[index]; }
  };

  void load_hot();
  Announced split(std::span<const uint32_t> keys) const;
  void add_pages(PageSet& pages, uint32_t key) const;
  double charge(const PageSet& pages) const;
  void serve(Announced& now, uint32_t request, std::byte* out);
  void gather(const Announced& now, const CacheStep& step, std::byte* out);
  void list_missing(const Announced& now);
  bool streaming(const Announced& now) const;
  void take_inbox(const Announced& now, uint32_t request, std::byte* out);
  double spill_us() const;
  bool spilling_pays() const;
  void keep_evicted(const CacheStep& step);
  void read_missing(const Announced& now, uint32_t request, std::byte* out);
  size_t choose_group(uint64_t rows_now);
  void repeat_rows(const Announced& now, std::byte* out) const;
  void count();
  void insert(const Announced& now, const CacheStep& step, std::span<const uint32_t> next_use, const std::byte* out);

  const std::shared_ptr<BlockFile> file_;
  BufferArena& arena_;
  const uint64_t num_rows_;
  TieredReaderOptions options_;
  HotSet hot_;
  LookAhead look_ahead_;
  NextUseCache cache_;
  RowSlab slab_;
  std::optional<VictimBuffer> victim_;

  std::deque<Announced> window_;
  uint32_t next_ = 0;  // the request of window_.front()
  bool failed_ = false;
  double master_row_us_ = 0;  // what a row of the master file has cost lately

  // Of the request being read; kept for their memory.
  std::vector<uint32_t> missing_;                       // indices of missed keys
  std::vector<uint8_t> found_;                          // per missing_
  std::vector<std::pair<uint32_t, uint32_t>> repeats_;  // index, index of the first
  std::vector<uint64_t> wanted_;                        // key << 32 | destination
  std::vector<uint32_t> wanted_keys_;
  KeyTable table_;
  PageSet pages_;

  std::vector<uint32_t> rows_, slots_;  // of hits, then of inserts
  TierStatistics served_;               // by this request

  mutable std::mutex statistics_mutex_;
  TierStatistics counts_;  // by all that are done
};

}  // namespace outcrop
