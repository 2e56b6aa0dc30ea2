// One minibatch while it is drawn.
#pragma once

#include <cstdint>
#include <vector>

#include "sampler/layer_draw.hpp"
#include "sampler/local_ids.hpp"
#include "sampler/sampler.hpp"
#include "stop.hpp"

namespace outcrop {

// Room that minibatches recycle.
template <class Key>
struct DrawingScratch {
  std::vector<LocalIds<Key>> local_ids;  // by node type
  std::vector<Column> columns;           // of one layer
  std::vector<uint64_t> places;          // of the edges chosen for a few columns
  std::vector<uint32_t> trees;           // of those edges, with disjoint trees
  LayerScratch layer;

  size_t memory_bytes() const {
    size_t tables = 0;
    for (const LocalIds<Key>& ids : local_ids) tables += ids.memory_bytes();
    return tables + columns.capacity() * sizeof(Column) + places.capacity() * sizeof(uint64_t) +
           trees.capacity() * sizeof(uint32_t) + layer.qualified.capacity() * sizeof(uint64_t) +
           layer.draws.memory_bytes();
  }
};

// Key: uint32_t where a node stands once in the minibatch, uint64_t where it stands once in each tree.
//
// A layer is drawn in passes, each of which asks for memory long before it needs it: its columns are looked up; then,
// for a few columns at a time, edges are chosen by place, their sources are fetched, and the sources become rows. One
// loop over edges would wait for the graph and then for the table at every edge.
template <class Key>
class Drawing {
 public:
  Drawing(const GraphView& graph, const SamplerOptions& options, const SeedBatch& seeds, const Stop& stop,
          DrawingScratch<Key>& scratch);

  SampledMinibatch draw();

 private:
  static constexpr bool kDisjoint = sizeof(Key) == sizeof(uint64_t);

  void add_seeds();
  void draw_hop(uint32_t hop);
  void draw_layer(LayerDraw& draw, SampledLayer& layer);
  uint64_t find_columns(LayerDraw& draw, const SampledLayer& layer);
  void choose_some(LayerDraw& draw, SampledLayer& layer, size_t& column, size_t& num_edges);
  void number_sources(const LayerDraw& draw, SampledLayer& layer, size_t begin, size_t end);
  Target target(uint32_t type, uint32_t row) const;
  void close_segment();

  uint32_t tree_of(uint32_t type, uint32_t row) const { return kDisjoint ? minibatch_.trees[type][row] : 0; }
  static Key key_of(uint32_t node, uint32_t tree) {
    return static_cast<Key>(kDisjoint ? static_cast<uint64_t>(tree) << 32 | node : node);
  }
  auto key_of_row(uint32_t type) const {
    return [this, type](uint32_t row) { return key_of(minibatch_.nodes[type][row], tree_of(type, row)); };
  }

  const GraphView& graph_;
  const SamplerOptions& options_;
  const SeedBatch& seeds_;
  const Stop& stop_;
  DrawingScratch<Key>& scratch_;
  SampledMinibatch minibatch_;
};

extern template class Drawing<uint32_t>;
extern template class Drawing<uint64_t>;

}  // namespace outcrop
