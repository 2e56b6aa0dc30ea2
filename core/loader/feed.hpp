// Which minibatches a pipeline loads, in order, and where their rows come from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "io/block_file.hpp"
#include "tiers/recipe.hpp"

namespace outcrop {

// What is read before a minibatch's recipes are known: whole blocks of a file. 0 bytes: nothing.
struct RecordPlace {
  const BlockFile* file = nullptr;
  uint64_t offset = 0;  // in the payload, a multiple of 4096
  uint64_t bytes = 0;   // a multiple of 4096
};

// The recipes of one minibatch, one per stream, with what their spans point at beside the record. Used again and again.
struct FeedRecipes {
  std::vector<Recipe> recipes;
  std::vector<std::vector<uint32_t>> hit_rows;
};

class Feed {
 public:
  virtual ~Feed() = default;

  virtual uint64_t num_minibatches() const = 0;
  virtual RecordPlace record(uint64_t position) const = 0;

  // Fills `out` from the record's bytes, which stay where they are as long as the recipes are used. Called by the
  // pipeline's I/O thread, in order of the positions' records arriving. Recipes are checked by the caller.
  virtual void recipes(uint64_t position, std::span<const std::byte> record, FeedRecipes& out) = 0;
};

}  // namespace outcrop
