#include "sampler/layer_draw.hpp"

#include <algorithm>
#include <cfloat>
#include <cmath>

#include "error.hpp"
#include "sampler/purpose.hpp"

namespace outcrop {

namespace {

std::string number(uint64_t value) { return std::to_string(value); }

}  // namespace

LayerDraw::LayerDraw(const GraphView& graph, const SamplerOptions& options, uint64_t epoch, uint64_t batch,
                     uint32_t hop, uint32_t edge_type, LayerScratch& scratch)
    : edges_(graph.edge_types[edge_type]), csc_(edges_.csc), options_(options), scratch_(scratch) {
  const int32_t fanout = options.fanouts[hop][edge_type];
  const bool temporal = options.temporal != Temporal::off;
  source_times_ = temporal ? graph.node_times[edges_.src_type] : nullptr;
  num_sources_ = graph.num_nodes[edges_.src_type];
  fanout_ = fanout == kAllNeighbors ? UINT64_MAX : static_cast<uint64_t>(fanout);
  weighted_ = options.weighted && csc_.weights;
  ranged_ = temporal && csc_.times && csc_.times_ascend;
  filtered_ = source_times_ || (temporal && csc_.times && !csc_.times_ascend);
  repeats_ = options.replace && fanout_ != UINT64_MAX;
  neighbors_key_ = random_key({options.seed, kNeighbors, epoch, batch, hop, edge_type});
  labor_key_ =
      random_key({options.seed, kLabor, epoch, batch, options.labor == Labor::shared ? 0 : hop, edges_.src_type});
}

void LayerDraw::refuse(const std::string& what) const { throw CorruptFile("edges " + edges_.name + ": " + what); }

void LayerDraw::refuse_source(uint64_t place) const {
  refuse("indices: place " + number(place) + ": expected a source below " + number(num_sources_) + ", found " +
         number(csc_.indices[place]));
}

Column LayerDraw::column(const Target& target) const {
  const int64_t begin = csc_.indptr[target.node], end = csc_.indptr[target.node + 1];
  if (begin < 0 || end < begin || static_cast<uint64_t>(end) > csc_.num_edges)
    refuse("indptr: column " + number(target.node) + ": expected 0 <= begin <= end <= " + number(csc_.num_edges) +
           ", found " + std::to_string(begin) + " and " + std::to_string(end));
  const int64_t* last = ranged_ ? std::upper_bound(csc_.times + begin, csc_.times + end, target.latest) : nullptr;
  return {static_cast<uint64_t>(begin), static_cast<uint64_t>(ranged_ ? last - (csc_.times + begin) : end - begin)};
}

void LayerDraw::prefetch_edges(const Column& column) const {
  __builtin_prefetch(csc_.indices + column.begin);
  if (csc_.weights) __builtin_prefetch(csc_.weights + column.begin);
}

void LayerDraw::ask_for_edges(const Column& column) {
  // Reading on is cheaper than a read for each edge where gaps are small; of wide columns a few pages are touched.
  constexpr uint64_t kEdgesWorthReading = 3200;  // 12.8 KB of sources: bandwidth / IOPS of an SSD
  if (!reads_whole_columns() && column.degree / kEdgesWorthReading > fanout_) return;
  scratch_.read_ahead.ask(csc_.indices + column.begin, column.degree * sizeof(uint32_t));
  if (weighted_) scratch_.read_ahead.ask(csc_.weights + column.begin, column.degree * sizeof(float));
}

uint64_t LayerDraw::most_edges(const Column& column) const {
  return repeats_ && column.degree > 0 ? fanout_ : std::min(fanout_, column.degree);
}

size_t LayerDraw::choose(const Column& column, const Target& target, uint64_t* places) {
  const Candidates candidates =
      filtered_ ? qualified(column, target) : Candidates{column.degree, column.begin, nullptr};
  const size_t chosen = choose_offsets(candidates, target, places);
  for (size_t i = 0; i < chosen; ++i) places[i] = candidates.place(places[i]);
  return chosen;
}

LayerDraw::Candidates LayerDraw::qualified(const Column& column, const Target& target) {
  std::vector<uint64_t>& places = scratch_.qualified;
  places.clear();
  for (uint64_t place = column.begin; place < column.begin + column.degree; ++place)
    if (time_of(place) <= target.latest) places.push_back(place);
  return {places.size(), 0, places.data()};
}

// An edge is as young as the younger of itself and its source.
int64_t LayerDraw::time_of(uint64_t place) const {
  const int64_t source = source_times_ ? source_times_[source_of(place)] : INT64_MIN;
  return csc_.times ? std::max(source, csc_.times[place]) : source;
}

uint32_t LayerDraw::source_of(uint64_t place) const {
  const uint32_t source = csc_.indices[place];
  if (source >= num_sources_) refuse_source(place);
  return source;
}

double LayerDraw::weight_of(uint64_t place) const {
  const float weight = csc_.weights[place];
  if (!(weight >= 0 && weight <= FLT_MAX))
    refuse("weight at " + number(place) + ": expected a finite one, not below 0, found " + std::to_string(weight));
  return weight;
}

size_t LayerDraw::choose_offsets(const Candidates& candidates, const Target& target, uint64_t* offsets) {
  const uint64_t n = candidates.n;
  const size_t k = static_cast<size_t>(std::min(fanout_, n));
  Draws& draws = scratch_.draws;
  if (options_.temporal == Temporal::last) return choose_last(candidates, k, offsets);
  if (!weighted_ && !repeats_ && k == n) return draws.all(n, offsets);

  const uint64_t key = random_bits(neighbors_key_, target.node);
  RandomStream random(target.tree == 0 ? key : random_bits(key, target.tree));
  if (repeats_ && weighted_) {
    const auto weight = [&](uint64_t i) { return weight_of(candidates.place(i)); };
    return draws.repeated_weighted(random, n, fanout_, weight, offsets);
  }
  if (repeats_) return draws.repeated(random, n, fanout_, offsets);
  if (!weighted_ && options_.labor == Labor::off) return draws.distinct(random, n, k, offsets);
  const auto rank = [&](uint64_t i, double limit) { return rank_of(candidates.place(i), random, limit); };
  return draws.smallest(n, k, rank, offsets);
}

size_t LayerDraw::choose_last(const Candidates& candidates, size_t k, uint64_t* offsets) {
  // Places ascend with times in a range, and settle ties.
  if (!filtered_) return scratch_.draws.last(candidates.n, k, offsets);
  const auto time = [&](uint64_t i) { return time_of(candidates.place(i)); };
  return scratch_.draws.latest(candidates.n, k, time, offsets);
}

// Smaller ones are drawn first, negative ones never. From `limit` on any number will do: a logarithm is saved where a
// bound, -log(u) >= 1 - u, is there already, which in wide columns is nearly always.
double LayerDraw::rank_of(uint64_t place, RandomStream& random, double limit) const {
  const double u =
      unit_interval(options_.labor == Labor::off ? random.bits() : random_bits(labor_key_, source_of(place)));
  if (!weighted_) return u;
  const double weight = weight_of(place);
  if (weight == 0) return -1;
  const double least = (1 - u) / weight;
  return least >= limit ? limit : -std::log(u) / weight;
}

}  // namespace outcrop
