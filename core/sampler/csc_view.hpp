// The graph as the sampler reads it: arrays of someone else's, in memory or mapped.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace outcrop {

// Edges by destination: column v holds the in-edges of node v, at places indptr[v] .. indptr[v + 1]. What lies in the
// arrays is not trusted: the sampler checks every value before it follows it.
struct CscView {
  uint64_t num_dst = 0, num_edges = 0;
  const int64_t* indptr = nullptr;    // [num_dst + 1]
  const uint32_t* indices = nullptr;  // [num_edges] sources
  const float* weights = nullptr;     // [num_edges] or absent
  const int64_t* times = nullptr;     // [num_edges] or absent
  bool times_ascend = false;          // in every column
};

struct EdgeTypeView {
  uint32_t src_type = 0, dst_type = 0;
  std::string name;  // for messages
  CscView csc;
};

struct GraphView {
  std::vector<uint64_t> num_nodes;  // by node type
  std::vector<EdgeTypeView> edge_types;
  std::vector<const int64_t*> node_times;  // by node type; null: none
};

}  // namespace outcrop
