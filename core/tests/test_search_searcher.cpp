#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <thread>

#include "error.hpp"
#include "search/exact_scan.hpp"
#include "search/searcher.hpp"
#include "tests/check.hpp"
#include "tests/io_files.hpp"

namespace outcrop::testing {
namespace {

constexpr uint32_t kDim = 16;
constexpr uint32_t kCentroids = 40;
constexpr uint32_t kRowsPerCentroid = 50;
constexpr uint32_t kRows = kCentroids * kRowsPerCentroid;

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
  explicit SmallIndex(bool coded, ReaderKind kind = ReaderKind::pread) : coded_(coded) {
    reader_ = BlockReader::open({.kind = kind, .num_threads = 2});
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

  Found search(Searcher& searcher, SearchOptions options, uint32_t nprobe = kCentroids) const {
    const size_t n = num_queries();
    std::vector<int32_t> probes(n * nprobe), counts(n, static_cast<int32_t>(nprobe));
    std::vector<float> probe_distances(n * nprobe);
    for (size_t q = 0; q < n; q++) nearest_centroids(q, nprobe, &probes[q * nprobe], &probe_distances[q * nprobe]);
    Found found{std::vector<int64_t>(n * options.k), std::vector<float>(n * options.k), {}};
    std::vector<float> latency(n);
    const SearchBatch batch{n, nprobe, queries_.data(), nullptr, probes.data(), probe_distances.data(), counts.data()};
    found.usage = searcher.search(batch, options, {found.ids.data(), found.distances.data(), latency.data()});
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

SearchOptions options_of(uint32_t k, uint32_t rerank, uint32_t threads = 1) {
  SearchOptions options;
  options.k = k;
  options.rerank = rerank;
  options.num_threads = threads;
  options.gap_bytes = 4096;
  return options;
}

TEST(searcher_that_probes_every_list_equals_brute_force) {
  for (bool coded : {false, true}) {
    SmallIndex index(coded);
    Searcher searcher(index.view(), 2, 1 << 20, 0);
    const Found expected = index.brute_force(10);
    CHECK(index.search(searcher, options_of(10, coded ? 100 : 0)) == expected);
    SearchOptions waves = options_of(10, coded ? 100 : 0, 2);
    waves.first_wave = 3, waves.next_wave = 2, waves.group_size = 5;
    const Found found = index.search(searcher, waves);
    CHECK(found == expected);
    CHECK(found.usage.skipped > 0);
    CHECK(found.usage.waves > 0);
  }
}

TEST(searcher_gives_the_same_for_any_groups_threads_buffers_and_caches) {
  SmallIndex index(true);
  Searcher roomy(index.view(), 2, 8 << 20, 0);
  SearchOptions plain = options_of(10, 20);
  const Found expected = index.search(roomy, plain, 6);
  for (size_t cache_bytes : {size_t{0}, size_t{20'000}, size_t{8 << 20}})
    for (uint32_t group_size : {1u, 7u, 64u})
      for (uint32_t threads : {1u, 3u}) {
        Searcher searcher(index.view(), threads, threads * Searcher::least_context_bytes(index.view()) * 2,
                          cache_bytes);
        SearchOptions options = plain;
        options.group_size = group_size, options.num_threads = threads;
        for (int repeat = 0; repeat < 2; repeat++) CHECK(index.search(searcher, options, 6) == expected);
        CHECK(searcher.cache_statistics().bytes <= cache_bytes);
      }
}

TEST(searcher_finds_fewer_than_k_and_says_so) {
  SmallIndex index(false);
  Searcher searcher(index.view(), 1, 1 << 20, 0);
  const Found found = index.search(searcher, options_of(100, 0), 1);
  for (size_t q = 0; q < index.num_queries(); q++) {
    CHECK(found.ids[q * 100 + kRowsPerCentroid - 1] >= 0);
    CHECK_EQUAL(found.ids[q * 100 + 60], int64_t{-1});
    CHECK(std::isinf(found.distances[q * 100 + 99]));
  }
}

// More callers than contexts, a cache that is always full, and statistics read meanwhile.
TEST(searcher_serves_several_callers_at_once) {
  for (bool coded : {false, true}) {
    SmallIndex index(coded);
    Searcher searcher(index.view(), 3, 3 << 19, 40'000);
    const uint32_t rerank = coded ? 40 : 0;
    const Found expected = index.search(searcher, options_of(10, rerank), 8);
    std::vector<std::jthread> callers;
    for (uint32_t caller = 0; caller < 4; caller++)
      callers.emplace_back([&, caller] {
        for (uint32_t round = 0; round < 4; round++) {
          SearchOptions options = options_of(10, rerank, 1 + (caller + round) % 3);
          options.group_size = 1 + caller * 3;
          CHECK(index.search(searcher, options, 8) == expected);
          if (caller == 3) searcher.clear_cache();
          CHECK(searcher.cache_statistics().bytes <= 40'000);
        }
      });
  }
}

TEST(searcher_stays_usable_after_a_damaged_list) {
  SmallIndex index(false);
  Searcher searcher(index.view(), 2, 1 << 20, 0);
  const Found expected = index.search(searcher, options_of(10, 0, 2));
  Bytes file = read_file(index.postings_path());
  const Bytes good = file;
  file[4096 * 5 + 100] ^= std::byte{4};
  write_file(index.postings_path(), file);
  for (int repeat = 0; repeat < 3; repeat++)
    CHECK_THROWS(index.search(searcher, options_of(10, 0, 2)), CorruptFile, "postings.blk: block 5 at offset 20480");
  write_file(index.postings_path(), Bytes(good.begin(), good.begin() + 4096 * 7));
  CHECK_THROWS(index.search(searcher, options_of(10, 0, 2)), CorruptFile, "postings.blk");
  write_file(index.postings_path(), good);
  CHECK(index.search(searcher, options_of(10, 0, 2)) == expected);
}

TEST(searcher_refuses_entries_that_name_rows_that_are_not_there) {
  for (uint64_t row : {uint64_t{kRows}, uint64_t{0xffffffff}}) {
    SmallIndex index(true);
    index.last_row = row;
    index.write_lists();
    Searcher searcher(index.view(), 1, 1 << 20, 0);
    CHECK_THROWS(index.search(searcher, options_of(2000, 2000)), CorruptFile, "names row " + std::to_string(row));
  }
}

TEST(searcher_refuses_a_directory_that_contradicts_itself) {
  SmallIndex index(true);
  const auto refused = [&](auto change, const char* text) {
    IndexView view = index.view();
    change(view);
    CHECK_THROWS(Searcher(std::move(view), 1, 1 << 20, 0), CorruptFile, text);
  };
  refused([](IndexView& v) { std::swap(v.list_offsets[2], v.list_offsets[3]); }, "go backwards");
  refused([](IndexView& v) { v.list_offsets.back() += 64; }, "do not fill");
  refused([](IndexView& v) { v.list_offsets.front() = 64; }, "do not fill");
  refused([](IndexView& v) { v.list_offsets.resize(1); }, "no lists");
  refused([](IndexView& v) { v.first_list.back()++; }, "do not own all lists");
  refused([](IndexView& v) { std::swap(v.first_list[4], v.first_list[5]); }, "go backwards");
  refused([](IndexView& v) { v.radius.pop_back(); }, "radii");
}

TEST(searcher_refuses_options_and_probes_out_of_range) {
  SmallIndex index(true);
  Searcher searcher(index.view(), 1, 1 << 20, 0);
  CHECK_THROWS(index.search(searcher, options_of(0, 0)), InvalidArgument, "k:");
  CHECK_THROWS(index.search(searcher, options_of(16385, 0)), InvalidArgument, "k:");
  CHECK_THROWS(index.search(searcher, options_of(10, 9)), InvalidArgument, "rerank");
  CHECK_THROWS(index.search(searcher, options_of(10, 16385)), InvalidArgument, "rerank");
  CHECK_THROWS(Searcher(index.view(), 0, 1 << 20, 0), InvalidArgument, "num_contexts");
  CHECK_THROWS(Searcher(index.view(), 4, 8192, 0), ResourceExhausted, "raise the memory budget");

  std::vector<float> query(kDim), latency(1), distances(1);
  std::vector<int64_t> ids(1);
  const int32_t probe = kCentroids;
  const float distance = 0;
  for (int32_t count : {1, 2, -1}) {
    const SearchBatch batch{1, 1, query.data(), nullptr, &probe, &distance, &count};
    CHECK_THROWS(searcher.search(batch, options_of(1, 0), {ids.data(), distances.data(), latency.data()}),
                 InvalidArgument, count == 1 ? "no centroid 40" : "out of range");
  }
}

}  // namespace
}  // namespace outcrop::testing
