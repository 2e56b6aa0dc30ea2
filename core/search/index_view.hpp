// What a searcher holds in memory of one version of an index, beside the centroids: where each list lies and how to
// read it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "io/block_file.hpp"
#include "kernels/dtype.hpp"
#include "kernels/sq8.hpp"
#include "search/posting_list.hpp"

namespace outcrop {

struct IndexView {
  Dtype dtype;    // of the stored vectors
  Metric metric;  // cosine is inner_product over normalised vectors
  uint32_t dim;
  ListShape shape;
  std::optional<Sq8> sq8;  // absent: the lists hold raw rows
  float code_error = 0;    // the largest |x - decoded x| of any stored vector; 0 for raw rows

  std::vector<uint64_t> list_offsets;  // payload offset of each list, and the end: num_lists + 1
  std::vector<uint32_t> first_list;    // centroid c owns lists [first_list[c], first_list[c + 1])
  std::vector<float> radius;  // per centroid: Euclidean distance to its farthest entry; empty for inner_product

  std::shared_ptr<BlockFile> postings;
  std::shared_ptr<BlockFile> vectors;  // raw rows in primary-list order; null when the lists hold raw rows

  uint32_t num_lists() const { return static_cast<uint32_t>(list_offsets.size() - 1); }
  uint32_t num_centroids() const { return static_cast<uint32_t>(first_list.size() - 1); }
  uint64_t list_bytes(uint32_t list) const { return list_offsets[list + 1] - list_offsets[list]; }
  size_t row_bytes() const { return dim * item_bytes(dtype); }
  size_t resident_bytes() const {
    return list_offsets.capacity() * 8 + first_list.capacity() * 4 + radius.capacity() * 4 +
           (sq8 ? dim * 3 * sizeof(float) : 0);
  }
};

}  // namespace outcrop
