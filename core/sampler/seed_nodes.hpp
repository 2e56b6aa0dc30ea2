// What a minibatch starts from, node by node; of links, the negative ones are drawn here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "sampler/sampler.hpp"

namespace outcrop {

// Every seed by id; of links both ends in turn, first the given links, then `negatives` for each of them in the same
// order: the source of the given one, and a destination drawn uniformly from all nodes of the type (a true neighbour
// now and then). Throws InvalidArgument for nodes that the graph does not have.
std::vector<uint32_t> seed_nodes(const GraphView& graph, const SeedBatch& seeds, uint64_t sampler_seed);

// 1 for given links, 0 for drawn ones; empty if the seeds are nodes.
std::vector<float> link_labels(const SeedBatch& seeds);

// `seed` counts what seed_nodes returns.
uint32_t type_of_seed(const SeedBatch& seeds, size_t seed);
int64_t time_of_seed(const SeedBatch& seeds, size_t seed);

// 0 .. n - 1 in an order of its own for every epoch.
std::vector<uint32_t> seed_order(uint32_t n, uint64_t sampler_seed, uint64_t epoch);

}  // namespace outcrop
