#include "sampler/sampler.hpp"

#include <string>
#include <utility>

#include "error.hpp"
#include "sampler/drawing.hpp"
#include "search/parallel.hpp"

namespace outcrop {

namespace {

void require(bool condition, const std::string& message) {
  if (!condition) throw InvalidArgument(message);
}

void check_fanouts(const GraphView& graph, const SamplerOptions& options) {
  for (size_t hop = 0; hop < options.fanouts.size(); ++hop) {
    const std::string where = "fanouts[" + std::to_string(hop) + "]: expected ";
    require(options.fanouts[hop].size() == graph.edge_types.size(), where + std::to_string(graph.edge_types.size()) +
                                                                        " edge types, found " +
                                                                        std::to_string(options.fanouts[hop].size()));
    for (const int32_t fanout : options.fanouts[hop])
      require(fanout >= kAllNeighbors, where + "-1 (all) or a count, found " + std::to_string(fanout));
  }
}

template <class Present>
void require_some(const GraphView& graph, const Present& present, const std::string& message) {
  for (const EdgeTypeView& edges : graph.edge_types)
    if (present(edges)) return;
  throw InvalidArgument(message);
}

void check_options(const GraphView& graph, const SamplerOptions& options) {
  check_fanouts(graph, options);
  const auto has_weights = [](const EdgeTypeView& edges) { return edges.csc.weights != nullptr; };
  const auto has_times = [&](const EdgeTypeView& edges) {
    return edges.csc.times != nullptr || graph.node_times[edges.src_type] != nullptr;
  };
  if (options.weighted) require_some(graph, has_weights, "weighted sampling: no edge type of the graph has weights");
  require(options.labor == Labor::off || !options.replace, "labor draws without replacement; replace must be off");
  if (options.temporal == Temporal::off) return;
  require_some(graph, has_times, "temporal sampling: no edge type and no node type of the graph has times");
  require(options.disjoint, "temporal sampling: each seed has its own time, so trees must be disjoint");
  require(options.temporal != Temporal::last || !(options.replace || options.weighted || options.labor != Labor::off),
          "temporal='last' draws nothing at random; replace, weighted and labor must be off");
}

}  // namespace

struct Sampler::Scratch {
  DrawingScratch<uint32_t> shared;    // a node stands once in the minibatch
  DrawingScratch<uint64_t> disjoint;  // once in each tree
};

Sampler::Sampler(GraphView graph, SamplerOptions options) : graph_(std::move(graph)), options_(std::move(options)) {
  for (const EdgeTypeView& edges : graph_.edge_types) {
    require(edges.src_type < graph_.num_nodes.size() && edges.dst_type < graph_.num_nodes.size(),
            "edges " + edges.name + ": no such node type");
    require(edges.csc.num_dst == graph_.num_nodes[edges.dst_type],
            "edges " + edges.name + ": expected a column for each of " +
                std::to_string(graph_.num_nodes[edges.dst_type]) + " nodes, found " +
                std::to_string(edges.csc.num_dst));
  }
  for (const uint64_t n : graph_.num_nodes)
    require(n < UINT32_MAX, "expected fewer than 2^32 - 1 nodes of a type, found " + std::to_string(n));
  check_options(graph_, options_);
}

Sampler::~Sampler() = default;

SampledMinibatch Sampler::sample(const SeedBatch& seeds, const Stop& stop) const {
  stop.check();
  check_seeds(seeds);
  std::unique_ptr<Scratch> scratch = take_scratch();
  SampledMinibatch minibatch = options_.disjoint ? Drawing(graph_, options_, seeds, stop, scratch->disjoint).draw()
                                                 : Drawing(graph_, options_, seeds, stop, scratch->shared).draw();
  give_back(std::move(scratch), minibatch);
  return minibatch;
}

std::vector<SampledMinibatch> Sampler::sample_many(std::span<const SeedBatch> batches, size_t num_threads,
                                                   const Stop& stop) const {
  std::vector<SampledMinibatch> minibatches(batches.size());
  parallel_chunks(batches.size(), 1, num_threads, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) minibatches[i] = sample(batches[i], stop);
  });
  return minibatches;
}

void Sampler::check_seeds(const SeedBatch& seeds) const {
  const size_t num_types = graph_.num_nodes.size();
  require(seeds.type < num_types && (!seeds.links || seeds.src_type < num_types), "seeds: no such node type");
  require(!seeds.links || seeds.nodes.size() % 2 == 0, "links: expected a source and a destination each");
  const uint64_t count = seeds.links ? seeds.nodes.size() / 2 : seeds.nodes.size();
  require(seeds.nodes.size() * (uint64_t{1} + seeds.negatives) < UINT32_MAX, "seeds: expected fewer than 2^32 - 1");
  const bool timed = options_.temporal != Temporal::off;
  require(seeds.times.size() == (timed ? count : 0), timed ? "times: temporal sampling wants one for each of " +
                                                                 std::to_string(count) + " seeds, found " +
                                                                 std::to_string(seeds.times.size())
                                                           : "times: only temporal sampling looks at them; give none");
}

void Sampler::give_back(std::unique_ptr<Scratch> scratch, const SampledMinibatch& drawn) const {
  const std::lock_guard lock(mutex_);
  ++drawn_.minibatches;
  for (const std::vector<uint32_t>& nodes : drawn.nodes) drawn_.rows += nodes.size();
  for (const SampledLayer& layer : drawn.layers) drawn_.edges += layer.indices.size();
  idle_.push_back(std::move(scratch));
}

SamplerStatistics Sampler::statistics() const {
  const std::lock_guard lock(mutex_);
  SamplerStatistics found = drawn_;
  for (const std::unique_ptr<Scratch>& scratch : idle_)
    found.scratch_bytes += scratch->shared.memory_bytes() + scratch->disjoint.memory_bytes();
  return found;
}

void Sampler::release() {
  const std::lock_guard lock(mutex_);
  idle_.clear();
}

std::unique_ptr<Sampler::Scratch> Sampler::take_scratch() const {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return std::make_unique<Scratch>();
  std::unique_ptr<Scratch> scratch = std::move(idle_.back());
  idle_.pop_back();
  return scratch;
}

}  // namespace outcrop
