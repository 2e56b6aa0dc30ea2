#include "sampler/seed_nodes.hpp"

#include <numeric>
#include <string>
#include <utility>

#include "error.hpp"
#include "sampler/purpose.hpp"
#include "sampler/random.hpp"

namespace outcrop {

namespace {

size_t num_given_links(const SeedBatch& seeds) { return seeds.nodes.size() / 2; }

// The given link that a link belongs to: itself, or the one that it is the negative of.
size_t given_link(const SeedBatch& seeds, size_t link) {
  const size_t given = num_given_links(seeds);
  return link < given ? link : (link - given) / seeds.negatives;
}

void add_negatives(const GraphView& graph, const SeedBatch& seeds, uint64_t sampler_seed,
                   std::vector<uint32_t>& nodes) {
  const uint64_t key = random_key({sampler_seed, kNegatives, seeds.epoch, seeds.batch, seeds.src_type, seeds.type});
  const size_t given = num_given_links(seeds);
  nodes.reserve(2 * given * (1 + seeds.negatives));
  for (size_t i = 0; i < given * seeds.negatives; ++i) {
    nodes.push_back(seeds.nodes[2 * (i / seeds.negatives)]);
    nodes.push_back(static_cast<uint32_t>(scaled_below(random_bits(key, i), graph.num_nodes[seeds.type])));
  }
}

void check(const GraphView& graph, const SeedBatch& seeds) {
  for (size_t i = 0; i < seeds.nodes.size(); ++i) {
    const uint64_t num_nodes = graph.num_nodes[type_of_seed(seeds, i)];
    if (seeds.nodes[i] >= num_nodes)
      throw InvalidArgument("seeds[" + std::to_string(i) + "]: expected a node below " + std::to_string(num_nodes) +
                            ", found " + std::to_string(seeds.nodes[i]));
  }
}

}  // namespace

uint32_t type_of_seed(const SeedBatch& seeds, size_t seed) {
  return seeds.links && seed % 2 == 0 ? seeds.src_type : seeds.type;
}

int64_t time_of_seed(const SeedBatch& seeds, size_t seed) {
  return seeds.times[seeds.links ? given_link(seeds, seed / 2) : seed];
}

std::vector<uint32_t> seed_nodes(const GraphView& graph, const SeedBatch& seeds, uint64_t sampler_seed) {
  check(graph, seeds);
  std::vector<uint32_t> nodes(seeds.nodes.begin(), seeds.nodes.end());
  if (seeds.links) add_negatives(graph, seeds, sampler_seed, nodes);
  return nodes;
}

std::vector<float> link_labels(const SeedBatch& seeds) {
  if (!seeds.links) return {};
  std::vector<float> labels(num_given_links(seeds), 1);
  labels.resize(num_given_links(seeds) * (1 + size_t{seeds.negatives}), 0);
  return labels;
}

// Fisher and Yates.
std::vector<uint32_t> seed_order(uint32_t n, uint64_t sampler_seed, uint64_t epoch) {
  std::vector<uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  RandomStream random(random_key({sampler_seed, kSeedOrder, epoch}));
  for (uint32_t i = n; i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  return order;
}

}  // namespace outcrop
