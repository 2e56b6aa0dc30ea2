#include "tiers/look_ahead.hpp"

#include <string>

#include "error.hpp"
#include "tiers/next_use_cache.hpp"

namespace outcrop {

namespace {

// Tables larger than the processor's caches are looked up this many keys ahead.
constexpr size_t kPrefetch = 24;

void check_keys(std::span<const uint32_t> keys, uint64_t num_keys) {
  for (size_t i = 0; i < keys.size(); i++)
    if (keys[i] >= num_keys)
      throw InvalidArgument("keys[" + std::to_string(i) + "]: expected less than " + std::to_string(num_keys) +
                            ", found " + std::to_string(keys[i]));
}

}  // namespace

NextUses::NextUses(uint64_t num_keys, uint32_t last) : next_(num_keys, last) {
  if (last != kNever && last != kUnknown)
    throw InvalidArgument("last: expected never or unknown, found " + std::to_string(last));
}

void NextUses::before(uint32_t request, std::span<const uint32_t> keys, std::span<uint32_t> next_use) {
  if (request >= end_)
    throw InvalidArgument("request: expected less than " + std::to_string(end_) + ", found " + std::to_string(request));
  first(keys, next_use);
  // A second pass, so that a key that stands twice does not find itself.
  for (const uint32_t key : keys) next_[key] = request;
  end_ = request;
}

void NextUses::first(std::span<const uint32_t> keys, std::span<uint32_t> next_use) const {
  if (keys.size() != next_use.size())
    throw InvalidArgument(std::to_string(keys.size()) + " keys, but room for " + std::to_string(next_use.size()) +
                          " next uses");
  check_keys(keys, next_.size());
  for (size_t i = 0; i < keys.size(); i++) {
    if (i + kPrefetch < keys.size()) __builtin_prefetch(&next_[keys[i + kPrefetch]]);
    next_use[i] = next_[keys[i]];
  }
}

LookAhead::LookAhead(uint64_t num_keys) : latest_(num_keys, Place{kNever, 0}) {}

const std::vector<uint32_t>& LookAhead::announce(std::span<const uint32_t> keys) {
  check_keys(keys, latest_.size());
  outside_.clear();
  const uint32_t oldest = end_ - static_cast<uint32_t>(pending_.size());
  for (size_t i = 0; i < keys.size(); i++) {
    if (i + kPrefetch < keys.size()) __builtin_prefetch(&latest_[keys[i + kPrefetch]], 1);
    Place& latest = latest_[keys[i]];
    if (latest.request == end_) continue;  // the key stands twice
    if (latest.request != kNever && latest.request >= oldest)
      pending_[latest.request - oldest][latest.index] = end_;
    else
      outside_.push_back(keys[i]);
    latest = {end_, static_cast<uint32_t>(i)};
  }
  pending_.emplace_back(keys.size(), kUnknown);
  end_++;
  return outside_;
}

std::vector<uint32_t> LookAhead::take() {
  if (pending_.empty()) throw InvalidArgument("look-ahead: no request is announced");
  std::vector<uint32_t> next_use = std::move(pending_.front());
  pending_.pop_front();
  return next_use;
}

}  // namespace outcrop
