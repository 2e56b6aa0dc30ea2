// What is read from the file: for which requests, and where the rows go.
#include <algorithm>
#include <cstring>

#include "io/block.hpp"
#include "tiers/tiered_reader.hpp"

namespace outcrop {

void TieredReader::read_missing(const Announced& now, uint32_t request, std::byte* out) {
  wanted_.clear();
  for (size_t i = 0; i < missing_.size(); ++i)
    if (found_[i] == 0) wanted_.push_back(uint64_t{now.keys[missing_[i]]} << 32 | now.row_of(missing_[i]));
  if (wanted_.empty()) return;
  const uint64_t rows_now = wanted_.size();
  const size_t later = choose_group(rows_now);
  for (uint32_t i = 0; i < later; ++i) {
    for (const uint32_t key : window_[i].first_uses) wanted_.push_back(uint64_t{key} << 32 | (kLaterRequests + i));
    window_[i].first_uses = {};
    window_[i].alone_us = 0;
  }
  std::sort(wanted_.begin(), wanted_.end());
  wanted_keys_.resize(wanted_.size());
  for (size_t i = 0; i < wanted_.size(); ++i) wanted_keys_[i] = static_cast<uint32_t>(wanted_[i] >> 32);
  if (victim_ && later > 0) victim_->set_spilling(true);
  uint64_t ahead = 0;
  const ReadUsage usage =
      scan_rows(*file_, row_bytes(), wanted_keys_, options_.scan, arena_, [&](size_t i, const std::byte* row) {
        const auto destination = static_cast<uint32_t>(wanted_[i]);
        if (destination < kLaterRequests)
          std::memcpy(out + destination * row_bytes(), row, row_bytes());
        else
          ahead += victim_->put(request + 1 + destination - kLaterRequests, wanted_keys_[i], row);
      });
  const double us =
      std::max(double(usage.reads) * options_.device.read_us, double(usage.bytes) * options_.device.byte_us);
  master_row_us_ = us / double(wanted_.size());
  served_.master_rows = rows_now;
  served_.ahead_rows = ahead;
  served_.sweeps = 1;
  served_.grouped_requests = later;
  served_.master_reads = usage.reads;
  served_.master_bytes = usage.bytes;
  served_.master_pages = usage.pages;
}

// How many of the coming requests are best served by the sweep of the file that this one needs: what their own sweeps
// would cost, against what they add to this one and what it costs to keep their rows on disk meanwhile.
size_t TieredReader::choose_group(uint64_t rows_now) {
  if (!victim_ || options_.longest_group <= 1) return 0;
  pages_.clear();
  for (uint64_t i = 0; i < rows_now; ++i) add_pages(pages_, static_cast<uint32_t>(wanted_[i] >> 32));
  const uint64_t in_memory = victim_->room_rows(false), room = victim_->room_rows(true);
  double apart = charge(pages_), best_saving = 0;
  uint64_t rows = 0;
  size_t best = 0;
  for (size_t i = 0; i < window_.size() && i + 1 < options_.longest_group; ++i) {
    const Announced& coming = window_[i];
    rows += coming.first_uses.size();
    if (rows > room) break;
    for (const uint32_t key : coming.first_uses) add_pages(pages_, key);
    apart += coming.alone_us;
    const double spilled = double(rows > in_memory ? rows - in_memory : 0) * spill_us();
    const double saving = apart - charge(pages_) - spilled;
    if (saving <= best_saving) continue;
    best_saving = saving;
    best = i + 1;
  }
  return best;
}

// To write a row to disk and read it back, as part of long writes and reads.
double TieredReader::spill_us() const { return 2 * double(row_bytes()) * options_.device.byte_us; }

// Where requests share sweeps, a row that is not kept may cost its request a sweep of its own: at least a read. Else
// there will be a sweep, and the row adds what rows have cost in it.
bool TieredReader::spilling_pays() const {
  if (options_.longest_group == 1) return master_row_us_ == 0 || spill_us() < master_row_us_;
  const uint64_t blocks = (row_bytes() + kBlockBytes - 2) / kBlockBytes + 1;  // at most, of a row anywhere
  return spill_us() < options_.device.cost_us(blocks * kBlockBytes);
}

void TieredReader::add_pages(PageSet& pages, uint32_t key) const {
  const uint64_t begin = key * row_bytes();
  pages.add(begin / kBlockBytes, (begin + row_bytes() - 1) / kBlockBytes);
}

double TieredReader::charge(const PageSet& pages) const {
  return pages.cost_us(options_.device, options_.scan.gap_bytes / kBlockBytes,
                       options_.scan.max_read_bytes / kBlockBytes);
}

}  // namespace outcrop
