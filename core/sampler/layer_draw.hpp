// Which in-edges of a node are drawn, in one hop along one edge type.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sampler/draws.hpp"
#include "sampler/read_ahead.hpp"
#include "sampler/sampler.hpp"

namespace outcrop {

// The in-edges of one node that qualify, or among which those that do are looked for: places [begin, begin + degree) of
// the CSC arrays.
struct Column {
  uint64_t begin, degree;
};

// A node that wants neighbours. tree is 0 unless trees are disjoint; latest is only looked at by temporal sampling.
struct Target {
  uint32_t node;
  uint32_t tree;
  int64_t latest;
};

// Room that layers recycle.
struct LayerScratch {
  Draws draws;
  ReadAhead read_ahead;
  std::vector<uint64_t> qualified;  // places of one column's edges, where they do not lie together
};

class LayerDraw {
 public:
  LayerDraw(const GraphView& graph, const SamplerOptions& options, uint64_t epoch, uint64_t batch, uint32_t hop,
            uint32_t edge_type, LayerScratch& scratch);

  void prefetch_column(uint32_t node) const { __builtin_prefetch(csc_.indptr + node); }
  void ask_for_column(uint32_t node) { scratch_.read_ahead.ask(csc_.indptr + node, 2 * sizeof(int64_t)); }
  Column column(const Target& target) const;

  // Columns whose edges are all looked at are worth fetching ahead; of others only the chosen edges are.
  bool reads_whole_columns() const { return weighted_ || filtered_ || options_.labor != Labor::off; }
  void prefetch_edges(const Column& column) const;
  void ask_for_edges(const Column& column);

  // At least as many as choose() will choose.
  uint64_t most_edges(const Column& column) const;

  // Writes the places of the edges drawn, ascending, and returns how many.
  size_t choose(const Column& column, const Target& target, uint64_t* places);

  const uint32_t* sources() const { return csc_.indices; }
  uint64_t num_sources() const { return num_sources_; }
  [[noreturn]] void refuse_source(uint64_t place) const;

 private:
  struct Candidates {
    uint64_t n, begin;
    const uint64_t* places;  // null: begin, begin + 1, ...

    uint64_t place(uint64_t offset) const { return places ? places[offset] : begin + offset; }
  };

  [[noreturn]] void refuse(const std::string& what) const;
  Candidates qualified(const Column& column, const Target& target);
  int64_t time_of(uint64_t place) const;
  uint32_t source_of(uint64_t place) const;
  double weight_of(uint64_t place) const;
  size_t choose_offsets(const Candidates& candidates, const Target& target, uint64_t* offsets);
  size_t choose_last(const Candidates& candidates, size_t k, uint64_t* offsets);
  double rank_of(uint64_t place, RandomStream& random, double limit) const;

  const EdgeTypeView& edges_;
  const CscView& csc_;
  const SamplerOptions& options_;
  LayerScratch& scratch_;
  const int64_t* source_times_;
  uint64_t num_sources_;
  uint64_t fanout_;  // UINT64_MAX for all
  bool weighted_, repeats_;
  bool ranged_, filtered_;  // temporal: qualifying edges are a range of the column; are found edge by edge
  uint64_t neighbors_key_, labor_key_;
};

}  // namespace outcrop
