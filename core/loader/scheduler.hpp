// Where the rows of each minibatch will come from, decided ahead, minibatch by minibatch in their order of use.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sampler/sampled_minibatch.hpp"
#include "tiers/next_use_cache.hpp"
#include "tiers/recipe.hpp"

namespace outcrop {

// The cache of one node type along one sequence of minibatches.
class Scheduler {
 public:
  // type: of the nodes. num_rows: of its feature table. capacity: rows that the cache holds.
  Scheduler(uint32_t type, uint64_t num_rows, uint64_t capacity) : type_(type), cache_(num_rows, capacity) {}

  NextUseCache& cache() { return cache_; }
  const NextUseCache& cache() const { return cache_; }

  // Renumbers the rows of `type` inside each hop segment: first the rows that are missed, by ascending id, in which
  // order the log has them, then those that are hit, by ascending slot. Slots to insert into ascend with their rows.
  // The recipe has no places in a log yet. next_use: for nodes[type] in the order they come in; see NextUseCache::step,
  // which also says what is refused.
  StreamRecipe step(uint32_t request, SampledMinibatch& minibatch, std::span<const uint32_t> next_use);

 private:
  void order_by_id(const std::vector<uint32_t>& nodes, uint64_t begin, uint64_t end);
  void move_hits_back(uint64_t begin, uint64_t end, std::vector<CacheInsert>::const_iterator& insert,
                      StreamRecipe& recipe);

  uint32_t type_;
  NextUseCache cache_;
  std::vector<uint32_t> order_;                // per new row the old one
  std::vector<uint32_t> ids_, next_use_;       // in the order of ids inside each segment
  std::vector<uint64_t> sorted_, sort_space_;  // an id or slot, and in the low half the old row
};

// Gives each segment with misses its place in a log that ends at log_end so far, and returns where it ends then
// (docs/formats/plan.md). row_bytes: of a coded row.
uint64_t place_in_log(StreamRecipe& recipe, uint64_t row_bytes, uint64_t log_end);

}  // namespace outcrop
