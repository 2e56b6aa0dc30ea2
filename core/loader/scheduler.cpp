#include "loader/scheduler.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "error.hpp"
#include "io/block.hpp"

namespace outcrop {

namespace {

constexpr unsigned kDigitBits = 11;
constexpr size_t kDigits = size_t{1} << kDigitBits;
// Below this many pairs a comparison sort beats the passes over digit counts.
constexpr size_t kSmall = 2048;

// Sorts pairs by their high halves, all below `limit`. Least digit first, so three passes at most.
void sort_pairs(std::vector<uint64_t>& pairs, std::vector<uint64_t>& space, uint64_t limit) {
  if (std::is_sorted(pairs.begin(), pairs.end())) return;
  if (pairs.size() < kSmall) {
    std::sort(pairs.begin(), pairs.end());
    return;
  }
  space.resize(pairs.size());
  for (unsigned shift = 32; limit > 0; shift += kDigitBits, limit >>= kDigitBits) {
    std::array<uint32_t, kDigits> place{};
    for (const uint64_t pair : pairs) place[(pair >> shift) % kDigits]++;
    uint32_t begin = 0;
    for (uint32_t& p : place) begin += std::exchange(p, begin);
    for (const uint64_t pair : pairs) space[place[(pair >> shift) % kDigits]++] = pair;
    std::swap(pairs, space);
  }
}

void check_segments(const SampledMinibatch& minibatch, uint32_t type) {
  if (type >= minibatch.nodes.size() || type >= minibatch.hop_offsets.size())
    throw InvalidArgument("schedule: expected node type " + std::to_string(type) + ", the minibatch has " +
                          std::to_string(minibatch.nodes.size()) + " types");
  const std::vector<uint64_t>& segments = minibatch.hop_offsets[type];
  if (segments.empty() || segments.front() != 0 || segments.back() != minibatch.nodes[type].size() ||
      !std::is_sorted(segments.begin(), segments.end()))
    throw InvalidArgument("schedule: the hop offsets of node type " + std::to_string(type) +
                          " do not ascend from 0 to its " + std::to_string(minibatch.nodes[type].size()) + " nodes");
}

constexpr uint64_t paired(uint32_t high, uint64_t row) { return uint64_t{high} << 32 | row; }

}  // namespace

StreamRecipe Scheduler::step(uint32_t request, SampledMinibatch& minibatch, std::span<const uint32_t> next_use) {
  check_segments(minibatch, type_);
  const std::vector<uint32_t>& nodes = minibatch.nodes[type_];
  const std::vector<uint64_t>& segments = minibatch.hop_offsets[type_];
  if (next_use.size() != nodes.size())
    throw InvalidArgument("schedule: " + std::to_string(nodes.size()) + " nodes of type " + std::to_string(type_) +
                          ", but " + std::to_string(next_use.size()) + " next uses");
  order_.clear();
  for (size_t s = 0; s + 1 < segments.size(); s++) order_by_id(nodes, segments[s], segments[s + 1]);
  ids_.resize(nodes.size());
  next_use_.resize(nodes.size());
  for (size_t i = 0; i < nodes.size(); i++) {
    ids_[i] = nodes[order_[i]];
    next_use_[i] = next_use[order_[i]];
  }
  const CacheStep& step = cache_.step(request, ids_, next_use_);
  StreamRecipe recipe;
  recipe.type = type_;
  recipe.hit_slots.reserve(nodes.size());
  recipe.insert_rows.reserve(step.inserts.size());
  recipe.insert_slots.reserve(step.inserts.size());
  auto insert = step.inserts.begin();
  for (size_t s = 0; s + 1 < segments.size(); s++) move_hits_back(segments[s], segments[s + 1], insert, recipe);
  permute(minibatch, type_, order_);
  recipe.hit_slots.shrink_to_fit();
  return recipe;
}

void Scheduler::order_by_id(const std::vector<uint32_t>& nodes, uint64_t begin, uint64_t end) {
  sorted_.clear();
  for (uint64_t row = begin; row < end; row++) sorted_.push_back(paired(nodes[row], row));
  sort_pairs(sorted_, sort_space_, cache_.num_keys());
  for (const uint64_t pair : sorted_) order_.push_back(static_cast<uint32_t>(pair));
}

// In a segment ordered by id: missed rows keep their order, those that are hit follow by slot.
void Scheduler::move_hits_back(uint64_t begin, uint64_t end, std::vector<CacheInsert>::const_iterator& insert,
                               StreamRecipe& recipe) {
  const CacheStep& step = cache_.last_step();
  sorted_.clear();
  uint64_t row = begin;
  for (uint64_t i = begin; i < end; i++) {
    if (step.hit_slots[i] != kMiss) {
      sorted_.push_back(paired(step.hit_slots[i], order_[i]));
      continue;
    }
    if (insert != step.inserts.end() && insert->index == i) {
      recipe.insert_rows.push_back(static_cast<uint32_t>(row));
      recipe.insert_slots.push_back(insert++->slot);
    }
    order_[row++] = order_[i];
  }
  recipe.segments.push_back({row - begin, sorted_.size(), 0});
  sort_pairs(sorted_, sort_space_, cache_.capacity());
  for (const uint64_t pair : sorted_) {
    recipe.hit_slots.push_back(static_cast<uint32_t>(pair >> 32));
    order_[row++] = static_cast<uint32_t>(pair);
  }
}

uint64_t place_in_log(StreamRecipe& recipe, uint64_t row_bytes, uint64_t log_end) {
  uint64_t base = 0;
  for (SegmentMove& segment : recipe.segments) {
    if (segment.num_misses > 0) {
      segment.log_offset = round_up_to_block(log_end) + base * row_bytes % kBlockBytes;
      log_end = segment.log_offset + segment.num_misses * row_bytes;
    }
    base += segment.num_misses + segment.num_hits;
  }
  return log_end;
}

}  // namespace outcrop
