// Requests through the tiers. Sweeps of the file are in tiered_reader_sweeps.cpp.
#include "tiers/tiered_reader.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <string>
#include <utility>

#include "error.hpp"
#include "io/block.hpp"
#include "tiers/row_copy.hpp"

namespace outcrop {
namespace {

// A tensor larger than this is written around the processor's caches.
constexpr uint64_t kStreamingBytes = uint64_t{4} << 20;

void check_size(const BlockFile& file, uint64_t num_rows, uint64_t row_bytes) {
  if (row_bytes == 0 || num_rows == 0 || num_rows >= UINT32_MAX - 1)
    throw InvalidArgument("tiered reader: " + std::to_string(num_rows) + " rows of " + std::to_string(row_bytes) +
                          " bytes, expected 1 to 2^32 - 3 rows of at least 1 byte");
  if (file.payload_bytes() / row_bytes < num_rows)
    throw InvalidArgument(file.name() + ": " + std::to_string(file.payload_bytes()) + " bytes of payload, expected " +
                          std::to_string(num_rows) + " rows of " + std::to_string(row_bytes) + " bytes");
}

}  // namespace

TieredReader::TieredReader(std::shared_ptr<BlockFile> file, BufferArena& arena, uint64_t num_rows,
                           TieredReaderOptions options)
    : file_((check_size(*file, num_rows, options.row_bytes), std::move(file))),
      arena_(arena),
      num_rows_(num_rows),
      options_(std::move(options)),
      hot_(options_.hot_keys.empty() ? HotSet() : HotSet(num_rows, options_.hot_keys, options_.row_bytes)),
      look_ahead_(num_rows),
      cache_(num_rows, std::min(options_.cache_rows, num_rows)),
      slab_(cache_.capacity(), options_.row_bytes),
      pages_(file_->num_data_blocks() + 1) {
  options_.victim.row_bytes = row_bytes();
  if (options_.victim.memory_bytes > 0) victim_.emplace(options_.victim);
  load_hot();
}

uint64_t TieredReader::memory_bytes(uint64_t num_rows, const TieredReaderOptions& options) {
  const uint64_t cache_rows = std::min(options.cache_rows, num_rows);
  const uint64_t num_pages = num_rows * options.row_bytes / kBlockBytes + 2;
  return num_rows * (8 + 6) + cache_rows * (24 + options.row_bytes) + num_pages / 8 +
         HotSet::memory_bytes(num_rows, options.hot_keys.size(), options.row_bytes);
}

void TieredReader::load_hot() {
  scan_rows(*file_, row_bytes(), options_.hot_keys, options_.scan, arena_,
            [&](size_t i, const std::byte* row) { std::memcpy(hot_.row(uint32_t(i)), row, row_bytes()); });
  options_.hot_keys = {};
}

TierStatistics& TierStatistics::operator+=(const TierStatistics& more) {
  requests += more.requests, rows += more.rows;
  hot_rows += more.hot_rows, cache_rows += more.cache_rows;
  victim_rows += more.victim_rows, master_rows += more.master_rows;
  repeated_rows += more.repeated_rows, ahead_rows += more.ahead_rows;
  sweeps += more.sweeps, grouped_requests += more.grouped_requests;
  master_reads += more.master_reads, master_bytes += more.master_bytes, master_pages += more.master_pages;
  cache_inserts += more.cache_inserts;
  return *this;
}

// ---- announcing

uint32_t TieredReader::announce(std::span<const uint32_t> keys) {
  for (size_t i = 0; i < keys.size(); ++i)
    if (keys[i] >= num_rows_)
      throw InvalidArgument("announce: keys[" + std::to_string(i) + "] is " + std::to_string(keys[i]) +
                            ", the file has " + std::to_string(num_rows_) + " rows");
  if (keys.size() >= kLaterRequests) throw InvalidArgument("announce: expected fewer than 2^31 keys in a request");
  Announced announced = split(keys);
  const uint32_t request = look_ahead_.end();
  const auto& outside = look_ahead_.announce(announced.keys);
  cache_.promote(outside, request);
  if (victim_ && options_.longest_group > 1) {
    pages_.clear();
    for (const uint32_t key : outside) {
      if (cache_.contains(key)) continue;
      announced.first_uses.push_back(key);
      add_pages(pages_, key);
    }
    announced.alone_us = charge(pages_);
  }
  window_.push_back(std::move(announced));
  return request;
}

TieredReader::Announced TieredReader::split(std::span<const uint32_t> keys) const {
  Announced announced;
  if (hot_.empty()) {
    announced.keys.assign(keys.begin(), keys.end());
    return announced;
  }
  for (uint32_t row = 0; row < keys.size(); ++row) {
    const uint32_t slot = hot_.slot_of(keys[row]);
    if (slot != HotSet::kAbsent) {
      announced.hot.emplace_back(slot, row);
    } else {
      announced.keys.push_back(keys[row]);
      announced.rows.push_back(row);
    }
  }
  return announced;
}

// ---- reading

void TieredReader::read(uint32_t request, std::span<std::byte> out) {
  if (failed_) throw InvalidArgument("tiered reader: an earlier read failed; make a new reader");
  if (window_.empty() || request != next_)
    throw InvalidArgument("tiered reader: read of request " + std::to_string(request) + ", expected " +
                          std::to_string(next_) + (window_.empty() ? ", which is not announced" : ""));
  if (out.size() != window_.front().num_rows() * row_bytes())
    throw InvalidArgument("tiered reader: out has " + std::to_string(out.size()) + " bytes, request " +
                          std::to_string(request) + " has " + std::to_string(window_.front().num_rows()) + " rows of " +
                          std::to_string(row_bytes()));
  Announced now = std::move(window_.front());
  window_.pop_front();
  ++next_;
  failed_ = true;
  serve(now, request, out.data());
  failed_ = false;
}

void TieredReader::serve(Announced& now, uint32_t request, std::byte* out) {
  const std::vector<uint32_t> next_use = look_ahead_.take();
  const CacheStep& step = cache_.step(request, now.keys, next_use);
  gather(now, step, out);
  if (victim_) {
    take_inbox(now, request, out);
    victim_->set_spilling(spilling_pays());
    keep_evicted(step);
    victim_->prefetch(request + 1);
  }
  read_missing(now, request, out);
  repeat_rows(now, out);
  insert(now, step, next_use, out);
  count();
}

void TieredReader::gather(const Announced& now, const CacheStep& step, std::byte* out) {
  for (const auto& [slot, row] : now.hot) std::memcpy(out + row * row_bytes(), hot_.row(slot), row_bytes());
  missing_.clear();
  rows_.clear();
  slots_.clear();
  for (uint32_t i = 0; i < step.hit_slots.size(); ++i) {
    if (step.hit_slots[i] == kMiss) {
      missing_.push_back(i);
    } else {
      rows_.push_back(now.row_of(i));
      slots_.push_back(step.hit_slots[i]);
    }
  }
  gather_rows(slab_, slots_, rows_, out, streaming(now));
  list_missing(now);
  served_ = {};
  served_.requests = 1;
  served_.rows = now.num_rows();
  served_.hot_rows = now.hot.size();
  served_.repeated_rows = repeats_.size();
  served_.cache_rows = now.keys.size() - missing_.size() - repeats_.size();
  served_.cache_inserts = step.inserts.size();
}

// A key that stands twice is fetched once.
void TieredReader::list_missing(const Announced& now) {
  table_.reset(missing_.size());
  repeats_.clear();
  size_t kept = 0;
  for (const uint32_t index : missing_) {
    const uint32_t first = table_.insert(now.keys[index], static_cast<uint32_t>(kept));
    if (first == KeyTable::kAbsent)
      missing_[kept++] = index;
    else
      repeats_.emplace_back(index, missing_[first]);
  }
  missing_.resize(kept);
  found_.assign(kept, 0);
}

bool TieredReader::streaming(const Announced& now) const { return now.num_rows() * row_bytes() > kStreamingBytes; }

void TieredReader::repeat_rows(const Announced& now, std::byte* out) const {
  for (const auto& [index, first] : repeats_)
    std::memcpy(out + now.row_of(index) * row_bytes(), out + now.row_of(first) * row_bytes(), row_bytes());
}

void TieredReader::take_inbox(const Announced& now, uint32_t request, std::byte* out) {
  victim_->take(request, [&](std::span<const uint32_t> keys, const std::byte* rows) {
    for (size_t i = 0; i < keys.size(); ++i) {
      const uint32_t position = table_.find(keys[i]);
      if (position == KeyTable::kAbsent || found_[position] != 0) continue;
      found_[position] = 1;
      ++served_.victim_rows;
      std::memcpy(out + now.row_of(missing_[position]) * row_bytes(), rows + i * row_bytes(), row_bytes());
    }
  });
}

void TieredReader::keep_evicted(const CacheStep& step) {
  for (const CacheEviction& evicted : step.evictions)
    if (evicted.next_use < kUnknown) victim_->put(evicted.next_use, evicted.key, slab_.row(evicted.slot));
}

void TieredReader::insert(const Announced& now, const CacheStep& step, std::span<const uint32_t> next_use,
                          const std::byte* out) {
  rows_.clear();
  slots_.clear();
  for (const CacheInsert& entry : step.inserts) {
    rows_.push_back(now.row_of(entry.index));
    slots_.push_back(entry.slot);
  }
  insert_rows(slab_, slots_, rows_, out, streaming(now));
  if (!victim_) return;
  victim_->set_spilling(spilling_pays());
  for (const uint32_t index : step.bypassed)
    victim_->put(next_use[index], now.keys[index], out + now.row_of(index) * row_bytes());
}

// All at once, so that whoever looks meanwhile finds sums that agree.
void TieredReader::count() {
  std::lock_guard lock(statistics_mutex_);
  counts_ += served_;
}

TierStatistics TieredReader::statistics() const {
  std::lock_guard lock(statistics_mutex_);
  TierStatistics counts = counts_;
  if (victim_) counts.victim = victim_->statistics();
  return counts;
}

}  // namespace outcrop
