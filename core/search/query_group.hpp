// A few queries that go through their waves together: one read per list, shared by all that probe it.
//
// A group plans a stage (a wave of lists, or the re-rank), hands out the extents it wants to read, scans each as it
// arrives, in any order, and plans the next stage when all have come. `stop` is asked before each list that is cached.
// Results do not depend on the order of arrival: the selection is a total order, and every decision is taken between
// stages.
#pragma once

#include <chrono>
#include <span>
#include <vector>

#include "cache/list_cache.hpp"
#include "io/merge.hpp"
#include "search/query_scan.hpp"
#include "search/search_plan.hpp"
#include "stop.hpp"

namespace outcrop {

class QueryGroup {
 public:
  QueryGroup(const IndexView& index, const SearchBatch& batch, const SearchOptions& options, const SearchResult& result,
             ListCache& cache, const Stop& stop, size_t first_query, size_t num_queries);

  // True when all results are written.
  bool done() const { return stage_ == Stage::done; }

  // Extents of the present stage that nobody took yet.
  size_t num_wanted() const { return merged_.extents.size() - taken_; }
  Extent wanted() const { return merged_.extents[taken_]; }
  const BlockFile& file() const { return stage_ == Stage::rerank ? *index_.vectors : *index_.postings; }
  uint32_t take() { return static_cast<uint32_t>(taken_++); }

  // The bytes of extent `number`; checks and scans them. Plans the next stage after the last one.
  void arrived(uint32_t number, const std::byte* data);

  const SearchUsage& usage() const { return usage_; }

 private:
  enum class Stage { lists, rerank, done };
  using Clock = std::chrono::steady_clock;

  struct Query {
    size_t number;
    QueryScan scan;
    TopK best;        // by the codes' distances; max(k, rerank) entries
    TopK final_best;  // by exact distances
    size_t next_probe = 0;
    uint32_t idle_waves = 0;
    bool improved = false;
    bool active = true;
    Query(size_t query_number, const SearchOptions& options);
  };
  struct Ask {  // query `query` of the group wants list `list`
    uint32_t list, query;
  };
  struct RowAsk {
    uint64_t row;
    int64_t id;
    uint32_t query;
  };

  void advance();
  bool plan_wave();
  void collect_probes(uint32_t query);
  bool out_of_reach(const Query& query, float probe_distance, uint32_t centroid) const;
  void settle_wave();
  void plan_lists();
  bool plan_rerank();
  void select_candidates(uint32_t query);
  void plan_rows();
  void merge_reads();
  void scan_list(uint32_t list, std::span<const std::byte> bytes, std::span<const Ask> asks);
  void scan_extent_lists(uint32_t number, const std::byte* data);
  void scan_extent_rows(uint32_t number, const std::byte* data);
  void write_results();

  const IndexView& index_;
  const SearchBatch& batch_;
  const SearchOptions& options_;
  const SearchResult& result_;
  ListCache& cache_;
  const Stop& stop_;
  const Clock::time_point start_ = Clock::now();
  Stage stage_ = Stage::lists;
  std::vector<Query> queries_;
  SearchUsage usage_;

  // The present stage.
  std::vector<Ask> asks_;           // sorted by list
  std::vector<uint32_t> ask_runs_;  // where the asks of range i begin
  std::vector<RowAsk> row_asks_;    // sorted by row
  std::vector<Extent> ranges_;      // blocks of each list or row that must be read
  MergedRanges merged_;
  std::vector<uint32_t> extent_runs_;  // where the ranges of extent e begin in merged_.order
  size_t taken_ = 0, arrived_ = 0;

  std::vector<float> scratch_;
};

}  // namespace outcrop
