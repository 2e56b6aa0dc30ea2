// One sampled minibatch, as the core passes it on: the nodes it wants, and who was drawn for whom.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace outcrop {

// The edges drawn in one hop along one edge type: a CSC matrix in local rows. Column c is row dst_begin + c of the
// destination type; indices are rows of the source type; both number SampledMinibatch::nodes of their type.
struct SampledLayer {
  uint32_t edge_type = 0;  // number in the graph's list of edge types
  uint32_t src_type = 0, dst_type = 0;
  uint32_t hop = 0;  // 0 is drawn first, for the seeds
  uint32_t dst_begin = 0,
           dst_end = 0;          // rows with a column; [dst_begin, dst_end) lies in [0, hop_offsets[dst][hop + 1])
  std::vector<uint32_t> indptr;  // [dst_end - dst_begin + 1], from 0
  std::vector<uint32_t> indices;
  std::vector<uint64_t> edges;  // places in the graph's CSC arrays, as long as indices; empty unless asked for
};

struct SampledMinibatch {
  uint64_t epoch = 0, batch = 0;
  // By node type: ids, each once (with disjoint trees: each once per tree), seeds first, then in order of discovery.
  std::vector<std::vector<uint32_t>> nodes;
  // By node type, [hops + 2]: the segment [off[h], off[h + 1]) became known by hop h - 1; segment 0 are the seeds.
  std::vector<std::vector<uint64_t>> hop_offsets;
  std::vector<SampledLayer> layers;  // by hop, then edge type; types without a fan-out in a hop have none
  std::vector<std::vector<uint32_t>>
      trees;                   // by node type: the seed, by position, that each row belongs to; disjoint only
  uint32_t seed_type = 0;      // of the seeds; of links: the destinations
  uint32_t link_src_type = 0;  // of links: the sources
  // The row of each seed as given, repetitions included. Of links: source, destination, source, destination, ...
  std::vector<uint32_t> seed_rows;
  std::vector<float> labels;  // of links: 1 for a given one, 0 for a drawn one; otherwise empty
};

// Renumbers the rows of one type: new row i is old row new_order[i]. Layers, trees and seed_rows follow, so the
// minibatch means the same. Within a column the order of edges stays. Arrays stay where they are in memory.
// Throws InvalidArgument unless new_order permutes the rows inside each segment of hop_offsets[type].
void permute(SampledMinibatch& minibatch, uint32_t type, std::span<const uint32_t> new_order);

}  // namespace outcrop
