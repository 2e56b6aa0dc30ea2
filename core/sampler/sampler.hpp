// Draws minibatches: seeds, their in-neighbours, the neighbours' in-neighbours, hop by hop.
//
// What is drawn for a node depends on (seed, epoch, batch, hop, edge type, node) alone, with disjoint trees on the tree
// too: random.hpp. So a minibatch is a function of (seed, epoch, batch) and its seeds, whatever thread draws it.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "sampler/csc_view.hpp"
#include "sampler/sampled_minibatch.hpp"
#include "stop.hpp"

namespace outcrop {

inline constexpr int32_t kAllNeighbors = -1;

// labor: one random number per source node, the same for all columns it stands in, so that columns agree on sources
// and fewer nodes are wanted (LABOR-0, Balin and Catalyurek 2023, with exactly k edges by sequential Poisson sampling).
//        shared: the number is also the same in every hop.
enum class Labor { off, per_hop, shared };

// Only edges no younger than the tree's seed qualify: of those, any (uniform) or the latest (last).
enum class Temporal { off, uniform, last };

// all:       every node known so far draws anew in each hop (DGL's blocks).
// newcomers: each node draws once, in the hop after the one that found it (PyG).
enum class Expand { all, newcomers };

struct SamplerOptions {
  std::vector<std::vector<int32_t>> fanouts;  // [hop][edge type]: edges per node; kAllNeighbors; 0 leaves the type out
  uint64_t seed = 0;
  bool replace = false;   // with repetitions, exactly fan-out many wherever there is any
  bool weighted = false;  // by the edges' weights, where the edge type has some; weight 0 is never drawn
  Labor labor = Labor::off;
  Temporal temporal = Temporal::off;
  bool disjoint = false;  // a tree of its own for each seed; temporal needs it
  Expand expand = Expand::all;
  bool keep_edges = false;  // fill SampledLayer::edges
};

// What one minibatch starts from. nodes: of `type`, repetitions allowed. Of links: source, destination, source, ...;
// even places are of src_type and `negatives` further links per given one are drawn, to destinations uniformly among
// all nodes of `type`, and follow behind the given ones.
struct SeedBatch {
  uint64_t epoch = 0, batch = 0;
  uint32_t type = 0;
  std::span<const uint32_t> nodes;
  std::span<const int64_t> times;  // one per node, or per link; only for temporal sampling
  bool links = false;
  uint32_t src_type = 0;
  uint32_t negatives = 0;
};

// What a sampler has drawn, and what it keeps for the next minibatch: some room per thread that ever sampled.
struct SamplerStatistics {
  uint64_t minibatches, rows, edges;
  size_t scratch_bytes;
};

class Sampler {
 public:
  // The arrays behind `graph` must outlive the sampler. Throws InvalidArgument if options do not fit the graph.
  Sampler(GraphView graph, SamplerOptions options);
  ~Sampler();

  const GraphView& graph() const { return graph_; }
  const SamplerOptions& options() const { return options_; }

  // Any thread. Throws InvalidArgument for seeds out of range, CorruptFile where the graph's arrays contradict
  // themselves, ResourceExhausted where a layer would have 2^32 edges or more, and what `stop` says, asked every
  // hundred edges or so.
  SampledMinibatch sample(const SeedBatch& seeds, const Stop& stop = {}) const;

  // Many at once, divided among threads; results do not depend on their number.
  std::vector<SampledMinibatch> sample_many(std::span<const SeedBatch> batches, size_t num_threads,
                                            const Stop& stop = {}) const;

  SamplerStatistics statistics() const;
  void release();  // gives back what idle threads keep; the next minibatch makes it anew

 private:
  struct Scratch;
  void check_seeds(const SeedBatch& seeds) const;
  std::unique_ptr<Scratch> take_scratch() const;
  void give_back(std::unique_ptr<Scratch> scratch, const SampledMinibatch& drawn) const;

  const GraphView graph_;
  const SamplerOptions options_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Scratch>> idle_;  // never more than threads that sampled at the same time
  mutable SamplerStatistics drawn_{};
};

}  // namespace outcrop
