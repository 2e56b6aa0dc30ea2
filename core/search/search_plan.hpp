// What a caller asks of a search and gets back. Which lists to probe is decided above; the core reads and scans them.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/top_k.hpp"

namespace outcrop {

struct SearchOptions {
  uint32_t k = 10;
  uint32_t rerank = 0;      // candidates whose raw rows are read; 0 returns the codes' distances. At least k otherwise.
  uint32_t first_wave = 0;  // centroids probed before the first look at the results; 0: all at once
  uint32_t next_wave = 16;  // centroids per later wave
  uint32_t patience = 0;    // waves without a change of the top k after which a query stops; 0: never
  uint64_t gap_bytes = 0;   // merge reads across gaps up to this
  uint64_t max_read_bytes = 256 << 10;
  uint32_t group_size = 1;        // queries that share reads and waves
  uint32_t groups_in_flight = 4;  // per thread
  uint32_t num_threads = 1;
  double read_cost_us = 11.2;       // the device's charge for one read, 1 / IOPS
  double byte_cost_us = 1 / 1140.;  // and for one byte, 1 / bandwidth; a read is charged the larger of both
};

// Arrays are C-contiguous and belong to the caller.
struct SearchBatch {
  size_t num_queries;
  size_t max_probes;
  const float* queries;          // [num_queries, dim]
  const std::byte* typed;        // the same in the rows' integer type, or null
  const int32_t* probes;         // [num_queries, max_probes] centroids, nearest first
  const float* probe_distances;  // squared Euclidean, for the triangle bound; read only where the index has radii
  const int32_t* num_probes;     // [num_queries] how many of them to use
};

struct SearchUsage {
  uint64_t reads = 0;       // given to the device
  uint64_t bytes = 0;       // read from it, gaps included
  uint64_t lists = 0;       // scanned, once for each query that asked
  uint64_t lists_read = 0;  // read from the device, once for all queries of a group
  uint64_t cache_hits = 0;
  uint64_t skipped = 0;    // probes that the triangle bound made unnecessary
  uint64_t distances = 0;  // codes compared
  uint64_t reranked = 0;   // raw rows compared
  uint64_t waves = 0;
  double device_us = 0;

  void add(const SearchUsage& other);
};

struct SearchResult {
  int64_t* ids;       // [num_queries, k]; -1 where fewer were found
  float* distances;   // [num_queries, k]; infinity there
  float* latency_us;  // [num_queries] from the first plan of the query's group to the query's last result
};

}  // namespace outcrop
