#include "sampler/drawing.hpp"

#include <algorithm>
#include <string>

#include "error.hpp"
#include "sampler/seed_nodes.hpp"

namespace outcrop {

namespace {

// Far enough ahead that a line from memory has come, near enough that it is still there.
constexpr size_t kColumnsAhead = 32;
constexpr size_t kWholeColumnsAhead = 4;
// Pages on their way from the device: enough to keep it busy, a few megabytes.
constexpr size_t kColumnsAskedAhead = 1024;
// Edges chosen between two passes: their places and sources stay in the nearest cache.
constexpr size_t kEdgesAtATime = 128;

}  // namespace

template <class Key>
Drawing<Key>::Drawing(const GraphView& graph, const SamplerOptions& options, const SeedBatch& seeds, const Stop& stop,
                      DrawingScratch<Key>& scratch)
    : graph_(graph), options_(options), seeds_(seeds), stop_(stop), scratch_(scratch) {
  const size_t num_types = graph.num_nodes.size();
  minibatch_.epoch = seeds.epoch;
  minibatch_.batch = seeds.batch;
  minibatch_.seed_type = seeds.type;
  minibatch_.link_src_type = seeds.links ? seeds.src_type : seeds.type;
  minibatch_.nodes.resize(num_types);
  minibatch_.hop_offsets.assign(num_types, {0});
  if (kDisjoint) minibatch_.trees.resize(num_types);
  scratch_.local_ids.resize(num_types);
  for (size_t type = 0; type < num_types; ++type) {
    // Minibatches are about as large as the one before: vectors that grow would be copied several times.
    minibatch_.nodes[type].reserve(scratch_.local_ids[type].size());
    scratch_.local_ids[type].clear();
  }
}

template <class Key>
SampledMinibatch Drawing<Key>::draw() {
  add_seeds();
  close_segment();
  for (uint32_t hop = 0; hop < options_.fanouts.size(); ++hop) {
    draw_hop(hop);
    close_segment();
  }
  return std::move(minibatch_);
}

template <class Key>
void Drawing<Key>::close_segment() {
  for (size_t type = 0; type < minibatch_.nodes.size(); ++type)
    minibatch_.hop_offsets[type].push_back(minibatch_.nodes[type].size());
}

template <class Key>
void Drawing<Key>::add_seeds() {
  const std::vector<uint32_t> seeds = seed_nodes(graph_, seeds_, options_.seed);
  minibatch_.labels = link_labels(seeds_);
  minibatch_.seed_rows.reserve(seeds.size());
  for (size_t i = 0; i < seeds.size(); ++i) {
    const uint32_t type = type_of_seed(seeds_, i), tree = static_cast<uint32_t>(i);
    LocalIds<Key>& ids = scratch_.local_ids[type];
    std::vector<uint32_t>& nodes = minibatch_.nodes[type];
    ids.reserve(1, key_of_row(type));
    const uint32_t row = ids.find_or_add(key_of(seeds[i], tree));
    minibatch_.seed_rows.push_back(row);
    if (row < nodes.size()) continue;
    nodes.push_back(seeds[i]);
    if (kDisjoint) minibatch_.trees[type].push_back(tree);
  }
}

template <class Key>
void Drawing<Key>::draw_hop(uint32_t hop) {
  for (uint32_t t = 0; t < graph_.edge_types.size(); ++t) {
    if (options_.fanouts[hop][t] == 0) continue;
    const EdgeTypeView& edges = graph_.edge_types[t];
    const std::vector<uint64_t>& known = minibatch_.hop_offsets[edges.dst_type];
    SampledLayer layer;
    layer.edge_type = t;
    layer.src_type = edges.src_type;
    layer.dst_type = edges.dst_type;
    layer.hop = hop;
    layer.dst_begin = static_cast<uint32_t>(options_.expand == Expand::all ? 0 : known[hop]);
    layer.dst_end = static_cast<uint32_t>(known[hop + 1]);
    LayerDraw draw(graph_, options_, seeds_.epoch, seeds_.batch, hop, t, scratch_.layer);
    scratch_.layer.read_ahead.begin_layer();
    draw_layer(draw, layer);
    scratch_.layer.read_ahead.end_layer(scratch_.columns.size());
    minibatch_.layers.push_back(std::move(layer));
  }
}

template <class Key>
void Drawing<Key>::draw_layer(LayerDraw& draw, SampledLayer& layer) {
  const uint64_t most_edges = find_columns(draw, layer);
  if (most_edges + minibatch_.nodes[layer.src_type].size() >= UINT32_MAX)
    throw ResourceExhausted("hop " + std::to_string(layer.hop) + " of minibatch " + std::to_string(seeds_.batch) +
                            " may draw " + std::to_string(most_edges) +
                            " edges; a layer holds less than 2^32: lower the fan-outs or the batch size");
  layer.indptr.reserve(scratch_.columns.size() + 1);
  layer.indptr.push_back(0);
  layer.indices.resize(most_edges);
  if (options_.keep_edges) layer.edges.resize(most_edges);
  size_t num_edges = 0, asked = scratch_.layer.read_ahead.is_on() ? 0 : scratch_.columns.size();
  for (size_t column = 0; column < scratch_.columns.size();) {
    stop_.check();
    const size_t begin = num_edges;
    for (; asked < scratch_.columns.size() && asked < column + kColumnsAskedAhead; ++asked)
      draw.ask_for_edges(scratch_.columns[asked]);
    choose_some(draw, layer, column, num_edges);
    number_sources(draw, layer, begin, num_edges);
  }
  layer.indices.resize(num_edges);
  if (options_.keep_edges) layer.edges.resize(num_edges);
}

// Returns how many edges the layer has at most.
template <class Key>
uint64_t Drawing<Key>::find_columns(LayerDraw& draw, const SampledLayer& layer) {
  const std::vector<uint32_t>& nodes = minibatch_.nodes[layer.dst_type];
  scratch_.columns.clear();
  uint64_t most_edges = 0;
  uint32_t asked = scratch_.layer.read_ahead.is_on() ? layer.dst_begin : layer.dst_end;
  for (uint32_t row = layer.dst_begin; row < layer.dst_end; ++row) {
    if (row % kColumnsAskedAhead == 0) stop_.check();
    for (; asked < layer.dst_end && asked < row + kColumnsAskedAhead; ++asked) draw.ask_for_column(nodes[asked]);
    if (row + kColumnsAhead < layer.dst_end) draw.prefetch_column(nodes[row + kColumnsAhead]);
    const Column column = draw.column(target(layer.dst_type, row));
    scratch_.columns.push_back(column);
    most_edges += draw.most_edges(column);
  }
  return most_edges;
}

// Chooses edges for columns from `column` on, and asks for their sources.
template <class Key>
void Drawing<Key>::choose_some(LayerDraw& draw, SampledLayer& layer, size_t& column, size_t& num_edges) {
  const std::vector<Column>& columns = scratch_.columns;
  size_t chosen = 0;
  scratch_.trees.clear();
  for (; column < columns.size() && chosen < kEdgesAtATime; ++column) {
    if (draw.reads_whole_columns() && column + kWholeColumnsAhead < columns.size())
      draw.prefetch_edges(columns[column + kWholeColumnsAhead]);
    const Target wanting = target(layer.dst_type, layer.dst_begin + static_cast<uint32_t>(column));
    const size_t most = chosen + draw.most_edges(columns[column]);
    if (scratch_.places.size() < most) scratch_.places.resize(most);
    const size_t n = draw.choose(columns[column], wanting, scratch_.places.data() + chosen);
    for (size_t i = chosen; i < chosen + n; ++i) __builtin_prefetch(draw.sources() + scratch_.places[i]);
    if (kDisjoint) scratch_.trees.insert(scratch_.trees.end(), n, wanting.tree);
    chosen += n;
    layer.indptr.push_back(static_cast<uint32_t>(num_edges + chosen));
  }
  num_edges += chosen;
}

// Edges [begin, end) of the layer: from places to sources to rows.
template <class Key>
void Drawing<Key>::number_sources(const LayerDraw& draw, SampledLayer& layer, size_t begin, size_t end) {
  LocalIds<Key>& ids = scratch_.local_ids[layer.src_type];
  std::vector<uint32_t>& nodes = minibatch_.nodes[layer.src_type];
  const auto tree_of_edge = [&](size_t i) { return kDisjoint ? scratch_.trees[i] : 0; };
  uint32_t* rows = layer.indices.data() + begin;
  const size_t n = end - begin;
  ids.reserve(n, key_of_row(layer.src_type));
  for (size_t i = 0; i < n; ++i) {
    const uint32_t source = draw.sources()[scratch_.places[i]];
    if (source >= draw.num_sources()) draw.refuse_source(scratch_.places[i]);
    ids.prefetch(key_of(source, tree_of_edge(i)));
    rows[i] = source;
  }
  for (size_t i = 0; i < n; ++i) {
    const uint32_t source = rows[i];
    rows[i] = ids.find_or_add(key_of(source, tree_of_edge(i)));
    if (rows[i] < nodes.size()) continue;
    nodes.push_back(source);
    if (kDisjoint) minibatch_.trees[layer.src_type].push_back(tree_of_edge(i));
  }
  if (options_.keep_edges) std::copy_n(scratch_.places.begin(), n, layer.edges.begin() + static_cast<ptrdiff_t>(begin));
}

template <class Key>
Target Drawing<Key>::target(uint32_t type, uint32_t row) const {
  const uint32_t tree = tree_of(type, row);
  return {minibatch_.nodes[type][row], tree, seeds_.times.empty() ? 0 : time_of_seed(seeds_, tree)};
}

template class Drawing<uint32_t>;
template class Drawing<uint64_t>;

}  // namespace outcrop
