#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <numeric>
#include <random>

#include "error.hpp"
#include "sampler/read_ahead.hpp"
#include "sampler/sampler.hpp"
#include "sampler/seed_nodes.hpp"
#include "tests/check.hpp"
#include "tests/stop_words.hpp"

namespace outcrop::testing {
namespace {

// A graph of one type with its arrays; in-degrees of 0 to 19.
struct Graph {
  std::vector<int64_t> indptr{0};
  std::vector<uint32_t> indices;

  Graph(uint32_t num_nodes, uint64_t seed) {
    std::mt19937_64 random(seed);
    for (uint32_t v = 0; v < num_nodes; ++v) {
      for (uint64_t d = random() % 20; d > 0; --d) indices.push_back(static_cast<uint32_t>(random() % num_nodes));
      indptr.push_back(static_cast<int64_t>(indices.size()));
    }
  }

  GraphView view() const {
    EdgeTypeView edges;
    edges.name = "node-to-node";
    edges.csc = {indptr.size() - 1, indices.size(), indptr.data(), indices.data()};
    return {{indptr.size() - 1}, {edges}, {nullptr}};
  }
};

SamplerOptions options(std::vector<std::vector<int32_t>> fanouts) {
  SamplerOptions chosen;
  chosen.fanouts = std::move(fanouts);
  chosen.seed = 11;
  return chosen;
}

std::vector<SeedBatch> batches_of(const std::vector<uint32_t>& seeds, size_t batch_size) {
  std::vector<SeedBatch> batches;
  for (size_t begin = 0; begin < seeds.size(); begin += batch_size) {
    SeedBatch batch;
    batch.batch = batches.size();
    batch.nodes = std::span(seeds).subspan(begin, std::min(batch_size, seeds.size() - begin));
    batches.push_back(batch);
  }
  return batches;
}

bool same(const SampledMinibatch& a, const SampledMinibatch& b) {
  bool layers = a.layers.size() == b.layers.size();
  for (size_t i = 0; layers && i < a.layers.size(); ++i)
    layers = a.layers[i].indptr == b.layers[i].indptr && a.layers[i].indices == b.layers[i].indices;
  return layers && a.nodes == b.nodes && a.hop_offsets == b.hop_offsets && a.seed_rows == b.seed_rows &&
         a.trees == b.trees;
}

TEST(a_sampler_shared_by_threads_draws_what_it_draws_alone) {
  const Graph graph(5000, 1);
  for (const bool disjoint : {false, true}) {
    SamplerOptions chosen = options({{5}, {-1}, {3}});
    chosen.disjoint = disjoint;
    const Sampler sampler(graph.view(), chosen);
    const std::vector<uint32_t> seeds = seed_order(1000, 1, 2);
    const std::vector<SeedBatch> batches = batches_of(seeds, 30);

    const auto alone = sampler.sample_many(batches, 1), together = sampler.sample_many(batches, 4);

    CHECK_EQUAL(alone.size(), size_t{34});
    for (size_t i = 0; i < alone.size(); ++i) CHECK(same(alone[i], together[i]));
    CHECK(!same(alone[0], alone[1]));
  }
}

TEST(minibatches_of_any_size_follow_each_other) {
  const Graph graph(20000, 2);
  const Sampler sampler(graph.view(), options({{10}, {10}}));
  const std::vector<uint32_t> seeds = seed_order(20000, 3, 0);

  // The table of one minibatch serves the next one, smaller or larger.
  for (const size_t count : {1, 20000, 3, 1, 5000, 0, 20000}) {
    SeedBatch own;
    own.nodes = {seeds.data(), count};
    CHECK(same(sampler.sample(own), Sampler(graph.view(), options({{10}, {10}})).sample(own)));
  }
}

TEST(an_error_in_one_thread_ends_the_others_and_the_sampler_goes_on) {
  Graph graph(2000, 3);
  const std::vector<uint32_t> seeds = seed_order(2000, 1, 2);
  const uint32_t sound = graph.indices[graph.indices.size() / 2];
  const Sampler sampler(graph.view(), options({{-1}}));
  graph.indices[graph.indices.size() / 2] = 2000;

  CHECK_THROWS(sampler.sample_many(batches_of(seeds, 10), 4), CorruptFile,
               "edges node-to-node: indices: place " + std::to_string(graph.indices.size() / 2));
  graph.indices[graph.indices.size() / 2] = sound;
  CHECK_EQUAL(sampler.sample_many(batches_of(seeds, 10), 4).size(), size_t{200});
}

TEST(a_graph_whose_parts_do_not_fit_is_refused) {
  const Graph graph(10, 4);
  GraphView view = graph.view();
  view.num_nodes = {11};
  CHECK_THROWS(Sampler(view, options({{1}})), InvalidArgument, "expected a column for each of 11 nodes, found 10");
  CHECK_THROWS(Sampler(graph.view(), options({{1, 1}})), InvalidArgument, "fanouts[0]: expected 1 edge types, found 2");
  SamplerOptions temporal = options({{1}});
  temporal.temporal = Temporal::last;
  view = graph.view();
  const std::vector<int64_t> times(10);
  view.node_times = {times.data()};
  CHECK_THROWS(Sampler(view, temporal), InvalidArgument, "trees must be disjoint");
}

// An array in a file that is mapped, and not in memory until it is touched.
template <class T>
struct Mapped {
  size_t num_bytes;
  const T* values;

  explicit Mapped(const std::vector<T>& array) : num_bytes(array.size() * sizeof(T)) {
    std::string name = std::filesystem::temp_directory_path() / "outcrop-sampler-XXXXXX";
    const int file = mkstemp(name.data());
    REQUIRE(file >= 0);
    unlink(name.c_str());
    REQUIRE(write(file, array.data(), num_bytes) == static_cast<ssize_t>(num_bytes));
    fsync(file);
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    void* memory = mmap(nullptr, num_bytes, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    REQUIRE(memory != MAP_FAILED);
    madvise(memory, num_bytes, MADV_RANDOM);
    values = static_cast<const T*>(memory);
  }
  ~Mapped() { munmap(const_cast<T*>(values), num_bytes); }
};

TEST(a_mapped_graph_whose_pages_must_be_read_is_drawn_from_like_one_in_memory) {
  const Graph graph(200000, 6);
  const std::vector<uint32_t> seeds = seed_order(4000, 1, 0);
  const std::vector<SeedBatch> batches = batches_of(seeds, 1000);
  const Mapped<int64_t> indptr(graph.indptr);
  const Mapped<uint32_t> indices(graph.indices);
  GraphView view = graph.view();
  view.edge_types[0].csc.indptr = indptr.values;
  view.edge_types[0].csc.indices = indices.values;

  const auto mapped = Sampler(view, options({{10}, {-1}})).sample_many(batches, 2);
  const auto expected = Sampler(graph.view(), options({{10}, {-1}})).sample_many(batches, 1);

  for (size_t i = 0; i < batches.size(); ++i) CHECK(same(mapped[i], expected[i]));
}

TEST(sampling_that_is_told_to_stop_throws_and_draws_the_same_afterwards) {
  const Graph graph(200'000, 5);
  const Sampler sampler(graph.view(), options({{-1}, {-1}, {-1}}));
  std::vector<uint32_t> seeds(100'000);
  std::iota(seeds.begin(), seeds.end(), 0);
  const std::vector<SeedBatch> whole = batches_of(seeds, seeds.size());
  StopWords words;
  words.end_after(std::chrono::nanoseconds(0));
  CHECK_THROWS(sampler.sample(whole[0], Stop(words.words)), DeadlineExceeded, "");
  words.end_after(std::chrono::milliseconds(1));  // in the midst of the first hop
  CHECK_THROWS(sampler.sample_many(whole, 2, Stop(words.words)), DeadlineExceeded, "");
  words = {};
  words.set();
  CHECK_THROWS(sampler.sample(whole[0], Stop(words.words)), Cancelled, "");
  CHECK_EQUAL(sampler.statistics().minibatches, uint64_t{0});
  CHECK(same(sampler.sample(whole[0]), Sampler(graph.view(), options({{-1}, {-1}, {-1}})).sample(whole[0])));
}

TEST(asking_ahead_pays_where_pages_are_missing) {
  CHECK(!ReadAhead::pays(0, 0));
  CHECK(!ReadAhead::pays(0, 1000000));
  CHECK(!ReadAhead::pays(10, 1000));
  CHECK(ReadAhead::pays(100, 1000));
  CHECK(ReadAhead::pays(1, 1));
}

TEST(any_range_may_be_asked_for) {
  ReadAhead ahead;
  const std::vector<char> bytes(10000);
  for (const size_t count : {0, 1, 4095, 4096, 9999}) ahead.ask(bytes.data() + 1, count);
  ahead.ask(nullptr, 100);
}

}  // namespace
}  // namespace outcrop::testing
