#include "search/query_group.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>
#include <string>

#include "error.hpp"

namespace outcrop {

void SearchUsage::add(const SearchUsage& other) {
  reads += other.reads;
  bytes += other.bytes;
  lists += other.lists;
  lists_read += other.lists_read;
  cache_hits += other.cache_hits;
  skipped += other.skipped;
  distances += other.distances;
  reranked += other.reranked;
  waves += other.waves;
  device_us += other.device_us;
}

QueryGroup::Query::Query(size_t query_number, const SearchOptions& options)
    : number(query_number), best(std::max(options.k, options.rerank)), final_best(options.k) {}

QueryGroup::QueryGroup(const IndexView& index, const SearchBatch& batch, const SearchOptions& options,
                       const SearchResult& result, ListCache& cache, const Stop& stop, size_t first_query,
                       size_t num_queries)
    : index_(index), batch_(batch), options_(options), result_(result), cache_(cache), stop_(stop) {
  queries_.reserve(num_queries);
  for (size_t i = first_query; i < first_query + num_queries; i++) {
    Query& query = queries_.emplace_back(i, options);
    const std::byte* typed = batch.typed == nullptr ? nullptr : batch.typed + i * index.row_bytes();
    query.scan.prepare(index, batch.queries + i * index.dim, typed);
  }
  advance();
}

// Plans stages until one of them needs a read, or all is done. A wave whose lists are all cached needs none.
void QueryGroup::advance() {
  while (stage_ == Stage::lists) {
    if (plan_wave()) {
      if (num_wanted() > 0) return;
      settle_wave();
    } else {
      stage_ = options_.rerank > 0 && index_.vectors ? Stage::rerank : Stage::done;
      if (stage_ == Stage::rerank && plan_rerank()) return;
      write_results();
      stage_ = Stage::done;
    }
  }
}

void QueryGroup::arrived(uint32_t number, const std::byte* data) {
  const Extent& extent = merged_.extents[number];
  file().verify(extent.first_block, extent.num_blocks, data);
  usage_.reads++;
  usage_.bytes += extent.length_bytes();
  usage_.device_us +=
      std::max(options_.read_cost_us, static_cast<double>(extent.length_bytes()) * options_.byte_cost_us);
  if (stage_ == Stage::lists)
    scan_extent_lists(number, data);
  else
    scan_extent_rows(number, data);
  if (++arrived_ < merged_.extents.size()) return;
  if (stage_ == Stage::lists) {
    settle_wave();
    advance();
  } else {
    write_results();
    stage_ = Stage::done;
  }
}

// ---- waves of lists

bool QueryGroup::plan_wave() {
  asks_.clear();
  for (uint32_t q = 0; q < queries_.size(); q++)
    if (queries_[q].active) collect_probes(q);
  if (asks_.empty()) return false;
  usage_.waves++;
  plan_lists();
  return true;
}

void QueryGroup::collect_probes(uint32_t q) {
  Query& query = queries_[q];
  const size_t limit = static_cast<size_t>(batch_.num_probes[query.number]);
  const int32_t* probes = batch_.probes + query.number * batch_.max_probes;
  const float* distances = batch_.probe_distances + query.number * batch_.max_probes;
  uint32_t wave = query.next_probe == 0 ? options_.first_wave : options_.next_wave;
  size_t wanted = wave == 0 ? limit : wave;
  while (query.next_probe < limit && wanted > 0) {
    size_t i = query.next_probe++;
    if (probes[i] < 0) continue;  // the centroid index found fewer
    uint32_t centroid = static_cast<uint32_t>(probes[i]);
    if (out_of_reach(query, distances[i], centroid)) {
      usage_.skipped++;
      continue;
    }
    for (uint32_t list = index_.first_list[centroid]; list < index_.first_list[centroid + 1]; list++)
      asks_.push_back({list, q});
    wanted--;
  }
  query.improved = false;
  query.active = query.next_probe < limit;
}

// The triangle inequality: no entry of the list is nearer than (distance to the centroid - radius). Exact, so it never
// costs recall; the margin covers float32 rounding and the error of the codes.
bool QueryGroup::out_of_reach(const Query& query, float probe_distance, uint32_t centroid) const {
  if (index_.radius.empty() || !query.best.full()) return false;
  float nearest = std::sqrt(probe_distance) - index_.radius[centroid];
  float reach = std::sqrt(query.best.threshold()) + index_.code_error;
  return nearest > reach * 1.001f + 1e-3f * index_.radius[centroid];
}

void QueryGroup::settle_wave() {
  for (Query& query : queries_) {
    query.idle_waves = query.improved ? 0 : query.idle_waves + 1;
    if (options_.patience > 0 && query.idle_waves >= options_.patience && query.best.full()) query.active = false;
  }
}

// Sorts the wave's asks by list, serves cached lists at once, and merges the rest into extents.
void QueryGroup::plan_lists() {
  std::sort(asks_.begin(), asks_.end(),
            [](const Ask& a, const Ask& b) { return a.list != b.list ? a.list < b.list : a.query < b.query; });
  ranges_.clear();
  ask_runs_.clear();
  for (size_t begin = 0, end; begin < asks_.size(); begin = end) {
    uint32_t list = asks_[begin].list;
    for (end = begin; end < asks_.size() && asks_[end].list == list;) end++;
    std::span<const Ask> asks(&asks_[begin], end - begin);
    usage_.lists += asks.size();
    if (ListCache::Bytes bytes = cache_.find(list)) {
      stop_.check();  // there may be many of them, and no read in between
      usage_.cache_hits++;
      scan_list(list, *bytes, asks);
    } else {
      ask_runs_.push_back(static_cast<uint32_t>(begin));
      ranges_.push_back(index_.postings->blocks_of(index_.list_offsets[list], index_.list_bytes(list)));
    }
  }
  usage_.lists_read += ranges_.size();
  merge_reads();
}

void QueryGroup::merge_reads() {
  merge_ranges(ranges_, options_.gap_bytes, options_.max_read_bytes, merged_);
  taken_ = arrived_ = 0;
  extent_runs_.assign(merged_.extents.size() + 1, 0);
  for (uint32_t extent : merged_.extent_of) extent_runs_[extent + 1]++;
  for (size_t e = 0; e < merged_.extents.size(); e++) extent_runs_[e + 1] += extent_runs_[e];
}

void QueryGroup::scan_extent_lists(uint32_t number, const std::byte* data) {
  uint64_t begin = BlockFile::first_byte_of(merged_.extents[number].first_block);
  for (uint32_t at = extent_runs_[number]; at < extent_runs_[number + 1]; at++) {
    uint32_t first_ask = ask_runs_[merged_.order[at]];
    uint32_t list = asks_[first_ask].list, end = first_ask;
    while (end < asks_.size() && asks_[end].list == list) end++;
    std::span<const std::byte> bytes(data + (index_.list_offsets[list] - begin), index_.list_bytes(list));
    cache_.offer(list, bytes);
    scan_list(list, bytes, std::span<const Ask>(&asks_[first_ask], end - first_ask));
  }
}

void QueryGroup::scan_list(uint32_t list, std::span<const std::byte> bytes, std::span<const Ask> asks) {
  ListView view(bytes, list, index_.shape, index_.postings->path());
  const size_t n = view.num_entries();
  if (scratch_.size() < n) scratch_.resize(n);
  for (const Ask& ask : asks) {
    Query& query = queries_[ask.query];
    query.scan.code_distances(view.codes(), n, scratch_.data());
    usage_.distances += n;
    for (size_t i = 0; i < n; i++)
      if (!(scratch_[i] > query.best.threshold()) && query.best.push(scratch_[i], view.id(i), view.row(i)))
        query.improved = true;
  }
}

// ---- re-rank by raw rows

bool QueryGroup::plan_rerank() {
  row_asks_.clear();
  for (uint32_t q = 0; q < queries_.size(); q++) select_candidates(q);
  if (row_asks_.empty()) return false;
  std::sort(row_asks_.begin(), row_asks_.end(),
            [](const RowAsk& a, const RowAsk& b) { return a.row != b.row ? a.row < b.row : a.query < b.query; });
  plan_rows();
  return true;
}

// A candidate whose lower bound is above the k-th upper bound cannot be among the k nearest. With x' the decoded x:
// ||q - x| - |q - x'|| <= |x - x'| for Euclidean distances, |q.x - q.x'| <= |q| |x - x'| for inner products.
void QueryGroup::select_candidates(uint32_t q) {
  std::vector<Neighbor> candidates = queries_[q].best.sorted();
  const bool l2 = index_.metric == Metric::l2;
  auto comparable = [l2](const Neighbor& n) { return l2 ? std::sqrt(n.distance) : n.distance; };
  float limit = std::numeric_limits<float>::infinity();
  if (candidates.size() > options_.k) {
    const float* x = batch_.queries + queries_[q].number * index_.dim;
    const float scale = l2 ? 1 : std::sqrt(std::inner_product(x, x + index_.dim, x, 0.0f));
    const float kth = comparable(candidates[options_.k - 1]);
    limit = kth + 2 * scale * index_.code_error * 1.001f + 1e-5f * std::abs(kth);
  }
  for (const Neighbor& candidate : candidates) {
    if (comparable(candidate) > limit) break;
    row_asks_.push_back({candidate.row, candidate.id, q});
  }
}

void QueryGroup::plan_rows() {
  const size_t width = index_.row_bytes();
  ranges_.clear();
  const uint64_t num_rows = index_.vectors->payload_bytes() / width;
  for (const RowAsk& ask : row_asks_) {
    if (ask.row >= num_rows)
      throw CorruptFile(index_.postings->path() + ": an entry names row " + std::to_string(ask.row) + " of " +
                        std::to_string(num_rows));
    ranges_.push_back(index_.vectors->blocks_of(ask.row * width, width));
  }
  usage_.reranked += row_asks_.size();
  merge_reads();
}

void QueryGroup::scan_extent_rows(uint32_t number, const std::byte* data) {
  const size_t width = index_.row_bytes();
  uint64_t begin = BlockFile::first_byte_of(merged_.extents[number].first_block);
  for (uint32_t at = extent_runs_[number]; at < extent_runs_[number + 1]; at++) {
    const RowAsk& ask = row_asks_[merged_.order[at]];
    float distance;
    queries_[ask.query].scan.row_distances(data + (ask.row * width - begin), 1, &distance);
    queries_[ask.query].final_best.push(distance, ask.id, ask.row);
  }
}

// ---- results

void QueryGroup::write_results() {
  float elapsed = std::chrono::duration<float, std::micro>(Clock::now() - start_).count();
  for (const Query& query : queries_) {
    const TopK& best = stage_ == Stage::rerank ? query.final_best : query.best;
    std::vector<Neighbor> found = best.sorted();
    size_t k = options_.k, count = std::min(found.size(), k);
    int64_t* ids = result_.ids + query.number * k;
    float* distances = result_.distances + query.number * k;
    for (size_t i = 0; i < k; i++) {
      ids[i] = i < count ? found[i].id : -1;
      distances[i] = i < count ? found[i].distance : std::numeric_limits<float>::infinity();
    }
    result_.latency_us[query.number] = elapsed;
  }
}

}  // namespace outcrop
