#include "loader/row_packer.hpp"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstring>
#include <deque>
#include <limits>
#include <string>
#include <utility>

#include "error.hpp"
#include "loader/run_writer.hpp"

namespace outcrop {
namespace {

constexpr uint64_t kMostReadBytes = 1 << 20;  // the device's bandwidth with a few in flight
constexpr size_t kReadsAhead = 4;
constexpr uint64_t kUnitBytes = 16 << 10;  // what lies untouched is skipped in steps of this; shorter gaps cost nothing
constexpr uint64_t kMostChunkBytes = 64 << 10;
constexpr uint64_t kGoodRunBytes = 1 << 20;    // written at the device's bandwidth, if others are in flight
constexpr uint64_t kLongRunBytes = 4 << 20;    // longer ones are written no faster
constexpr uint64_t kUnionRangeKeys = 8 << 20;  // a bitmap of 1 MiB
constexpr auto kProgressInterval = std::chrono::milliseconds(100);

// What earlier work has freed stays with the allocator, more than 100 MB after sampling and scheduling minibatches of
// 5 MB, and would come on top of the memory that is taken here.
void give_back_free_memory() {
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
}

// ---- sizes

struct Sizes {
  uint64_t rows_per_read;
  uint64_t read_buffer_bytes;  // of one read
  uint64_t chunk_bytes, num_chunks;
};

uint64_t buffer_of(uint64_t rows, uint64_t row_bytes) { return round_up_to_block(rows * row_bytes) + kBlockBytes; }

Sizes sizes_within(uint64_t memory_bytes, uint64_t num_streams, uint64_t row_bytes) {
  Sizes sizes;
  const uint64_t read_bytes = std::clamp<uint64_t>(memory_bytes / 16, kUnitBytes, kMostReadBytes);
  sizes.rows_per_read = std::max<uint64_t>(1, read_bytes / row_bytes);
  sizes.read_buffer_bytes = buffer_of(sizes.rows_per_read, row_bytes);
  const uint64_t left = memory_bytes - kReadsAhead * sizes.read_buffer_bytes;
  // Four chunks a stream on average, so that what a stream holds is mostly whole chunks, which can be written.
  const uint64_t share = left / (4 * std::max<uint64_t>(1, num_streams));
  sizes.chunk_bytes = std::clamp<uint64_t>(std::bit_floor(share), kBlockBytes, kMostChunkBytes);
  sizes.num_chunks = left / sizes.chunk_bytes;
  return sizes;
}

// ---- which rows are wanted

void check_keys(const RowSource& source, std::span<const PackStream> streams) {
  const uint64_t end = source.keys.empty() ? source.num_rows : uint64_t{source.keys.back()} + 1;
  for (size_t s = 0; s < streams.size(); ++s) {
    const auto keys = streams[s].keys;
    if (!std::is_sorted(keys.begin(), keys.end()))
      throw InvalidArgument("pack: keys of stream " + std::to_string(s) + " do not ascend");
    if (!keys.empty() && keys.back() >= end)
      throw InvalidArgument("pack: stream " + std::to_string(s) + " wants row " + std::to_string(keys.back()) +
                            ", expected less than " + std::to_string(end));
  }
}

// Ranges of rows to read, in order, each at most rows_per_read long. A source with keys holds only wanted rows.
class WantedRows {
 public:
  WantedRows(const RowSource& source, std::span<const PackStream> streams, uint64_t rows_per_read, uint64_t first_key)
      : num_rows_(source.num_rows),
        rows_per_read_(rows_per_read),
        rows_per_unit_(std::clamp<uint64_t>(kUnitBytes / source.row_bytes, 1, rows_per_read)) {
    next_ = source.keys.empty() ? first_key : row_of(source.keys, first_key);
    units_.assign(num_rows_ / rows_per_unit_ + 1, !source.keys.empty());
    if (source.keys.empty())
      for (const PackStream& stream : streams)
        for (const uint32_t key : stream.keys) units_[key / rows_per_unit_] = true;
  }

  // An empty range at the end.
  std::pair<uint64_t, uint64_t> take() {
    while (next_ < num_rows_ && !units_[next_ / rows_per_unit_]) next_ = end_of_unit(next_);
    const uint64_t begin = next_, limit = std::min(num_rows_, begin + rows_per_read_);
    uint64_t end = begin;
    for (uint64_t at = begin; at < limit; at = end_of_unit(at))
      if (units_[at / rows_per_unit_]) end = std::min(limit, end_of_unit(at));
    next_ = end;
    return {begin, end};
  }

 private:
  static uint64_t row_of(std::span<const uint32_t> keys, uint64_t key) {
    return uint64_t(std::lower_bound(keys.begin(), keys.end(), key) - keys.begin());
  }
  uint64_t end_of_unit(uint64_t row) const { return std::min(num_rows_, (row / rows_per_unit_ + 1) * rows_per_unit_); }

  const uint64_t num_rows_, rows_per_read_, rows_per_unit_;
  uint64_t next_ = 0;
  std::vector<bool> units_;
};

// ---- reading

struct Window {
  uint64_t begin = 0, end = 0;  // rows
  const std::byte* rows = nullptr;
};

// The wanted rows in the file's order, checked, whatever the order in which the device delivers them.
class RowScan {
 public:
  RowScan(const RowSource& source, WantedRows wanted, uint64_t buffer_bytes)
      : source_(source),
        wanted_(std::move(wanted)),
        buffer_bytes_(buffer_bytes),
        arena_(kReadsAhead * buffer_bytes),
        queue_(source.file.reader().take_queue()) {
    start_reads();
  }

  // The device writes into the leases until its reads are done, also when an error ends the scan early.
  ~RowScan() {
    std::array<ReadCompletion, kReadsAhead> ignored;
    while (queue_->in_flight() > 0) queue_->wait(1, ignored);
    source_.file.reader().give_back(std::move(queue_));
  }

  bool done() const { return pending_.empty(); }

  // The rows stay until release().
  Window front() {
    while (!pending_.front().done) take_completions();
    const Pending& read = pending_.front();
    source_.file.verify(read.extent.first_block, read.extent.num_blocks, read.lease.data());
    const uint64_t first_byte = source_.offset + read.begin * source_.row_bytes;
    return {read.begin, read.end, read.lease.data() + (first_byte - BlockFile::first_byte_of(read.extent.first_block))};
  }

  void release() {
    pending_.pop_front();
    ++first_tag_;
    start_reads();
  }

  uint64_t reads() const { return reads_; }
  uint64_t bytes() const { return bytes_; }

 private:
  struct Pending {
    uint64_t begin, end;
    Extent extent;
    BufferArena::Lease lease;
    bool done = false;
  };

  void start_reads() {
    while (!ended_ && pending_.size() < kReadsAhead && queue_->room() > 0) {
      const auto [begin, end] = wanted_.take();
      if (begin == end) {
        ended_ = true;
        break;
      }
      const uint64_t row_bytes = source_.row_bytes;
      const Extent extent = source_.file.blocks_of(source_.offset + begin * row_bytes, (end - begin) * row_bytes);
      pending_.push_back({begin, end, extent, arena_.try_lease(buffer_bytes_)});
      const ReadRequest request{source_.file.file(), extent.offset_bytes(), uint32_t(extent.length_bytes()),
                                pending_.back().lease.data(), first_tag_ + pending_.size() - 1};
      queue_->submit({&request, 1});
      ++reads_, bytes_ += extent.length_bytes();
    }
  }

  void take_completions() {
    std::array<ReadCompletion, kReadsAhead> completions;
    const size_t n = queue_->wait(1, completions);
    for (size_t i = 0; i < n; ++i) {
      Pending& read = pending_[completions[i].tag - first_tag_];
      if (completions[i].error != 0)
        source_.file.fail(completions[i].error, read.extent.first_block, read.extent.num_blocks);
      read.done = true;
    }
  }

  const RowSource& source_;
  WantedRows wanted_;
  const uint64_t buffer_bytes_;  // of every lease, so that the arena does not fall to pieces
  BufferArena arena_;
  std::unique_ptr<ReadQueue> queue_;
  std::deque<Pending> pending_;
  uint64_t first_tag_ = 0;  // of pending_.front()
  bool ended_ = false;
  uint64_t reads_ = 0, bytes_ = 0;
};

// ---- writing

// What a stream has gathered: payload bytes [begin, end) of the target, begin at a block's edge.
struct Gathered {
  std::span<const uint32_t> keys;
  size_t next = 0;  // of the keys
  uint64_t begin = 0, end = 0;
  std::vector<std::byte*> chunks;
};

class Gatherer {
 public:
  Gatherer(std::span<const PackStream> streams, uint64_t row_bytes, ExtentFile& target, const Sizes& sizes,
           uint32_t num_writers, uint64_t first_key)
      : row_bytes_(row_bytes),
        chunk_bytes_(sizes.chunk_bytes),
        most_held_(sizes.num_chunks - sizes.num_chunks / 4),
        target_(target),
        writer_(target, sizes.chunk_bytes, sizes.num_chunks, num_writers) {
    for (const PackStream& stream : streams) begin(stream, first_key);
  }

  std::vector<Gathered>& streams() { return streams_; }
  const RunWriter& writer() const { return writer_; }

  void append(Gathered& stream, const std::byte* row) {
    for (uint64_t left = row_bytes_; left > 0;) {
      const uint64_t used = (stream.end - stream.begin) % chunk_bytes_;
      if (used == 0) more_room(stream);
      const uint64_t n = std::min(left, chunk_bytes_ - used);
      std::memcpy(stream.chunks.back() + used, row, n);
      row += n, stream.end += n, left -= n;
    }
    if (++stream.next == stream.keys.size()) finish(stream);
  }

  // Everything gathered so far becomes durable; what does not fill a block is written, and kept as well.
  void checkpoint() {
    for (Gathered& stream : streams_)
      if (!stream.chunks.empty()) write_and_keep_last_block(stream);
    writer_.drain();
    target_.sync();
  }

  void drain() { writer_.drain(); }

 private:
  void begin(const PackStream& stream, uint64_t first_key) {
    const auto& keys = stream.keys;
    const size_t next = size_t(std::lower_bound(keys.begin(), keys.end(), first_key) - keys.begin());
    if (next == keys.size()) return;
    Gathered gathered{keys, next, 0, stream.offset + next * row_bytes_, {}};
    gathered.begin = round_down_to_block(gathered.end);
    if (gathered.begin < gathered.end) {
      gathered.chunks.push_back(take_chunk());
      if (next == 0)
        std::memset(gathered.chunks[0], 0, gathered.end - gathered.begin);
      else
        target_.read_block(1 + gathered.begin / kBlockBytes, gathered.chunks[0]);
    }
    streams_.push_back(std::move(gathered));
  }

  std::byte* take_chunk() {
    std::byte* chunk = writer_.take_chunk();
    ++held_;
    return chunk;
  }

  void more_room(Gathered& stream) {
    const uint64_t run_bytes = stream.end - stream.begin;
    if (run_bytes >= kLongRunBytes || (run_bytes >= kGoodRunBytes && writer_.is_idle()))
      write(stream, stream.chunks.size(), stream.end);
    else if (held_ >= most_held_)
      write_longest();
    stream.chunks.push_back(take_chunk());
  }

  // There are at least two chunks per stream, so when three quarters are held some stream has a whole one.
  void write_longest() {
    const auto longest = std::max_element(streams_.begin(), streams_.end(), [](const auto& a, const auto& b) {
      return a.end - a.begin < b.end - b.begin;
    });
    const size_t whole = (longest->end - longest->begin) / chunk_bytes_;
    if (whole > 0) write(*longest, whole, longest->begin + whole * chunk_bytes_);
  }

  // Gives the first chunks away: payload bytes [begin, end), zero padded to a block.
  void write(Gathered& stream, size_t num_chunks, uint64_t end) {
    const uint64_t used = (end - stream.begin) % chunk_bytes_;
    if (used % kBlockBytes != 0) std::memset(stream.chunks[num_chunks - 1] + used, 0, round_up_to_block(used) - used);
    const auto first = stream.chunks.begin(), last = first + ptrdiff_t(num_chunks);
    writer_.submit({1 + stream.begin / kBlockBytes, round_up_to_block(end - stream.begin), {first, last}});
    stream.chunks.erase(first, last);
    stream.begin = end;
    held_ -= num_chunks;
  }

  void finish(Gathered& stream) { write(stream, stream.chunks.size(), stream.end); }

  void write_and_keep_last_block(Gathered& stream) {
    const uint64_t last = round_down_to_block(stream.end), end = stream.end;
    std::byte* kept = nullptr;
    if (last < end) {
      kept = take_chunk();
      std::memcpy(kept, stream.chunks.back() + (last - stream.begin) % chunk_bytes_, end - last);
    }
    write(stream, stream.chunks.size(), end);
    if (kept) {
      stream.begin = last;
      stream.chunks.push_back(kept);
    }
  }

  const uint64_t row_bytes_, chunk_bytes_;
  const size_t most_held_;
  ExtentFile& target_;
  RunWriter writer_;
  size_t held_ = 0;
  std::vector<Gathered> streams_;
};

// ---- both

// The rows of one window go to every stream that wants them. Returns how many were copied.
uint64_t distribute(const RowSource& source, const Window& window, Gatherer& gatherer) {
  uint64_t copied = 0;
  for (Gathered& stream : gatherer.streams()) {
    uint64_t row = window.begin;
    while (stream.next < stream.keys.size()) {
      const uint32_t key = stream.keys[stream.next];
      if (source.keys.empty())
        row = key;
      else
        while (row < window.end && source.keys[row] < key) ++row;
      if (row >= window.end) break;
      if (!source.keys.empty() && source.keys[row] != key)
        throw InvalidArgument("pack: row " + std::to_string(key) + " is wanted and not in the source");
      gatherer.append(stream, window.rows + (row - window.begin) * source.row_bytes);
      ++copied;
    }
  }
  return copied;
}

uint64_t key_behind(const RowSource& source, const Window& window) {
  return source.keys.empty() ? window.end : uint64_t{source.keys[window.end - 1]} + 1;
}

uint64_t rows_below(std::span<const PackStream> streams, uint64_t key) {
  uint64_t rows = 0;
  for (const PackStream& stream : streams)
    rows += uint64_t(std::lower_bound(stream.keys.begin(), stream.keys.end(), key) - stream.keys.begin());
  return rows;
}

}  // namespace

uint64_t least_pack_memory(uint64_t num_streams, uint64_t row_bytes) {
  // Reads take a quarter of a large memory and what one row needs of a small one; two chunks a stream keep it moving.
  return kReadsAhead * buffer_of(std::max<uint64_t>(1, kUnitBytes / row_bytes), row_bytes) +
         (2 * num_streams + 24) * kBlockBytes * 4 / 3;
}

PackUsage pack_rows(const RowSource& source, std::span<const PackStream> streams, ExtentFile& target,
                    const PackOptions& options, uint64_t first_key, const PackProgress& progress,
                    const PackCheckpoint& checkpoint) {
  const uint64_t least = least_pack_memory(streams.size(), source.row_bytes);
  if (options.memory_bytes < least)
    throw ResourceExhausted("pack: " + std::to_string(streams.size()) + " streams of rows of " +
                            std::to_string(source.row_bytes) + " bytes need " + std::to_string(least) +
                            " bytes of memory, " + std::to_string(options.memory_bytes) + " were given");
  check_keys(source, streams);
  give_back_free_memory();
  const Sizes sizes = sizes_within(options.memory_bytes, streams.size(), source.row_bytes);
  RowScan scan(source, WantedRows(source, streams, sizes.rows_per_read, first_key), sizes.read_buffer_bytes);
  Gatherer gatherer(streams, source.row_bytes, target, sizes, options.num_writers, first_key);
  PackUsage usage;
  const uint64_t rows_before = first_key == 0 ? 0 : rows_below(streams, first_key);
  uint64_t written_at_checkpoint = 0;
  auto reported = std::chrono::steady_clock::now();
  for (; !scan.done(); scan.release()) {
    const Window window = scan.front();
    usage.rows += distribute(source, window, gatherer);
    const auto now = std::chrono::steady_clock::now();
    if (progress && now - reported >= kProgressInterval) {
      reported = now;
      progress(rows_before + usage.rows);
    }
    if (checkpoint && gatherer.writer().bytes() - written_at_checkpoint >= options.checkpoint_bytes) {
      gatherer.checkpoint();
      written_at_checkpoint = gatherer.writer().bytes();
      checkpoint(key_behind(source, window));
    }
  }
  for (const Gathered& stream : gatherer.streams())
    if (stream.next < stream.keys.size())
      throw InvalidArgument("pack: row " + std::to_string(stream.keys[stream.next]) +
                            " is wanted and not in the source");
  gatherer.drain();
  if (progress) progress(rows_before + usage.rows);
  usage.reads = scan.reads(), usage.read_bytes = scan.bytes();
  usage.runs = gatherer.writer().runs(), usage.written_bytes = gatherer.writer().bytes();
  return usage;
}

uint64_t union_of_keys(std::span<const PackStream> streams, std::span<uint32_t> out) {
  uint64_t end = 0, count = 0;
  for (const PackStream& stream : streams)
    if (!stream.keys.empty()) end = std::max(end, uint64_t{stream.keys.back()} + 1);
  std::vector<size_t> next(streams.size());
  std::vector<uint64_t> bits(std::min(end, kUnionRangeKeys) / 64 + 1);
  for (uint64_t base = 0; base < end; base += kUnionRangeKeys) {
    std::fill(bits.begin(), bits.end(), 0);
    for (size_t s = 0; s < streams.size(); ++s)
      for (const auto keys = streams[s].keys; next[s] < keys.size() && keys[next[s]] - base < kUnionRangeKeys;
           ++next[s])
        bits[(keys[next[s]] - base) / 64] |= uint64_t{1} << ((keys[next[s]] - base) % 64);
    for (size_t word = 0; word < bits.size(); ++word)
      for (uint64_t rest = bits[word]; rest != 0; rest &= rest - 1) {
        if (!out.empty()) out[count] = uint32_t(base + 64 * word + uint64_t(std::countr_zero(rest)));
        ++count;
      }
  }
  return count;
}

}  // namespace outcrop
