// An index of a few thousand rows, for tests of what searches it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "search/exact_scan.hpp"
#include "search/searcher.hpp"
#include "tests/io_files.hpp"

namespace outcrop::testing {

inline constexpr uint32_t kDim = 16;
inline constexpr uint32_t kCentroids = 40;
inline constexpr uint32_t kRowsPerCentroid = 50;
inline constexpr uint32_t kRows = kCentroids * kRowsPerCentroid;

struct Found {
  std::vector<int64_t> ids;
  std::vector<float> distances;
  SearchUsage usage;
  bool operator==(const Found& other) const { return ids == other.ids && distances == other.distances; }
};

// Clusters of float rows around centroids. Centroid c owns two lists: its primaries in the first, in the second copies
// of its own first rows; of the next centroid's for the first few, whose radius is large by that.
class SmallIndex {
 public:
  explicit SmallIndex(bool coded, std::shared_ptr<ReadFaults> faults = nullptr) : coded_(coded) {
    reader_ =
        BlockReader::open({.kind = ReaderKind::pread, .queue_depth = 8, .num_threads = 2, .faults = std::move(faults)});
    std::mt19937 random(11);
    std::normal_distribution<float> normal;
    centroids_.resize(kCentroids * kDim);
    for (float& value : centroids_) value = 5 * normal(random);
    rows_.resize(kRows * kDim);
    for (size_t i = 0; i < rows_.size(); i++)
      rows_[i] = centroids_[i / (kRowsPerCentroid * kDim) * kDim + i % kDim] + normal(random);
    queries_.resize(64 * kDim);
    for (size_t i = 0; i < queries_.size(); i++) queries_[i] = rows_[(i * 31) % rows_.size()] + normal(random);
    write_lists();
  }

  // The bytes of postings.blk, for tests that damage them; `write` puts them on disk.
  Bytes payload;
  uint64_t last_row = kRows - 1;  // named by the last copy
  void write() const {
    write_file(folder_.file("postings.blk"), block_file_image("postings", payload));
    Bytes raw(rows_.size() * 4);
    std::memcpy(raw.data(), rows_.data(), raw.size());
    write_file(folder_.file("vectors.blk"), block_file_image("vectors", raw));
  }

  std::string postings_path() const { return folder_.file("postings.blk"); }

  IndexView view() const {
    IndexView v{};
    v.dtype = Dtype::float32, v.metric = Metric::l2, v.dim = kDim, v.shape = shape();
    if (coded_) v.sq8.emplace(lower_, step_);
    v.code_error = coded_ ? error_ : 0;
    v.list_offsets = offsets_;
    for (uint32_t c = 0; c <= kCentroids; c++) v.first_list.push_back(2 * c);
    v.radius = radius_;
    v.postings = BlockFile::open(reader_, folder_.file("postings.blk"), "postings");
    if (coded_) v.vectors = BlockFile::open(reader_, folder_.file("vectors.blk"), "vectors");
    return v;
  }

  size_t num_queries() const { return queries_.size() / kDim; }

  ReaderStatistics reads() const { return reader_->statistics(); }

  Found search(Searcher& searcher, SearchOptions options, uint32_t nprobe = kCentroids, const Stop& stop = {}) const {
    const size_t n = num_queries();
    std::vector<int32_t> probes(n * nprobe), counts(n, static_cast<int32_t>(nprobe));
    std::vector<float> probe_distances(n * nprobe);
    for (size_t q = 0; q < n; q++) nearest_centroids(q, nprobe, &probes[q * nprobe], &probe_distances[q * nprobe]);
    Found found{std::vector<int64_t>(n * options.k), std::vector<float>(n * options.k), {}};
    std::vector<float> latency(n);
    const SearchBatch batch{n, nprobe, queries_.data(), nullptr, probes.data(), probe_distances.data(), counts.data()};
    found.usage = searcher.search(batch, options, {found.ids.data(), found.distances.data(), latency.data()}, stop);
    return found;
  }

  Found brute_force(uint32_t k) const {
    const size_t n = num_queries();
    ExactScan scan(Dtype::float32, Metric::l2, queries_.data(), nullptr, n, kDim, k);
    std::vector<int64_t> ids(kRows);
    for (uint32_t i = 0; i < kRows; i++) ids[i] = id_of(i);
    scan.push(reinterpret_cast<const std::byte*>(rows_.data()), ids.data(), kRows, 2);
    Found found{std::vector<int64_t>(n * k), std::vector<float>(n * k), {}};
    scan.result(found.ids.data(), found.distances.data());
    return found;
  }

  void write_lists() {
    encode();
    std::vector<uint32_t> entries, primary;
    std::vector<uint64_t> first_rows, rows;
    std::vector<int64_t> ids;
    Bytes codes;
    radius_.assign(kCentroids, 0);
    const auto add = [&](uint32_t row, uint32_t centroid) {
      ids.push_back(id_of(row)), rows.push_back(row);
      codes.insert(codes.end(), &codes_[row * shape().code_bytes],
                   &codes_[row * shape().code_bytes] + shape().code_bytes);
      radius_[centroid] = std::max(radius_[centroid], distance_to(&rows_[row * kDim], centroid));
    };
    for (uint32_t c = 0; c < kCentroids; c++) {
      const uint32_t begin = c * kRowsPerCentroid, copied = c < 4 ? begin + kRowsPerCentroid : begin;
      entries.insert(entries.end(), {kRowsPerCentroid, 10}), primary.insert(primary.end(), {kRowsPerCentroid, 0});
      first_rows.insert(first_rows.end(), {begin, begin + kRowsPerCentroid});
      for (uint32_t i = 0; i < kRowsPerCentroid; i++) add(begin + i, c);
      for (uint32_t i = 0; i < 10; i++) add(copied + i, c);
    }
    if (last_row >= kRows) rows.back() = last_row, ids.back() = 1;  // an id that no other entry has
    payload.assign(packed_bytes(shape(), entries, primary), std::byte{0});
    pack_lists(shape(), {0, entries, primary, first_rows, codes.data(), ids.data(), rows.data()}, payload);
    offsets_.assign(1, 0);
    for (size_t i = 0; i < entries.size(); i++)
      offsets_.push_back(offsets_.back() + packed_bytes(shape(), {&entries[i], 1}, {&primary[i], 1}));
    write();
  }

 private:
  ListShape shape() const { return {coded_ ? kDim : kDim * 4, 8, static_cast<uint8_t>(coded_ ? 4 : 0)}; }
  static int64_t id_of(uint32_t row) { return (int64_t{1} << 33) + row * 3; }

  void encode() {
    if (!coded_) {
      codes_.resize(rows_.size() * 4);
      std::memcpy(codes_.data(), rows_.data(), codes_.size());
      return;
    }
    lower_.assign(kDim, *std::min_element(rows_.begin(), rows_.end()));
    const float upper = *std::max_element(rows_.begin(), rows_.end());
    step_.assign(kDim, (upper - lower_[0]) / 255);
    codes_.resize(rows_.size());
    std::vector<float> errors(kRows);
    Sq8(lower_, step_).encode(rows_.data(), kRows, reinterpret_cast<uint8_t*>(codes_.data()), errors.data());
    error_ = *std::max_element(errors.begin(), errors.end());
  }

  float distance_to(const float* row, uint32_t centroid) const {
    float sum = 0;
    for (uint32_t i = 0; i < kDim; i++) {
      const float difference = row[i] - centroids_[centroid * kDim + i];
      sum += difference * difference;
    }
    return std::sqrt(sum);
  }

  void nearest_centroids(size_t query, uint32_t nprobe, int32_t* probes, float* distances) const {
    std::vector<std::pair<float, int32_t>> order;
    for (uint32_t c = 0; c < kCentroids; c++)
      order.emplace_back(distance_to(&queries_[query * kDim], c), static_cast<int32_t>(c));
    std::sort(order.begin(), order.end());
    for (uint32_t i = 0; i < nprobe; i++) {
      distances[i] = order[i].first * order[i].first;
      probes[i] = order[i].second;
    }
  }

  const bool coded_;
  TemporaryFolder folder_;
  std::shared_ptr<BlockReader> reader_;
  std::vector<float> centroids_, rows_, queries_, lower_, step_, radius_;
  Bytes codes_;
  float error_ = 0;
  std::vector<uint64_t> offsets_;
};

inline SearchOptions options_of(uint32_t k, uint32_t rerank, uint32_t threads = 1) {
  SearchOptions options;
  options.k = k;
  options.rerank = rerank;
  options.num_threads = threads;
  options.gap_bytes = 4096;
  return options;
}

}  // namespace outcrop::testing
