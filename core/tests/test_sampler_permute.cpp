#include <numeric>
#include <random>
#include <set>

#include "error.hpp"
#include "sampler/sampled_minibatch.hpp"
#include "tests/check.hpp"

namespace outcrop::testing {
namespace {

using Rows = std::vector<uint32_t>;

// Two seeds of type 0, then two hops: type 0 -> 0 and type 1 -> 0.
SampledMinibatch small_minibatch() {
  SampledMinibatch m;
  m.nodes = {{40, 10, 30, 20, 50}, {7, 5}};
  m.hop_offsets = {{0, 2, 4, 5}, {0, 0, 1, 2}};
  m.layers = {{0, 0, 0, 0, 0, 2, {0, 2, 3}, {2, 3, 0}, {100, 101, 102}},
              {1, 1, 0, 0, 0, 2, {0, 0, 1}, {0}, {}},
              {0, 0, 0, 1, 0, 4, {0, 1, 1, 3, 4}, {1, 4, 2, 3}, {200, 201, 202, 203}},
              {1, 1, 0, 1, 0, 4, {0, 1, 1, 1, 2}, {1, 0}, {}}};
  m.seed_rows = {0, 1, 1};
  return m;
}

// Every edge by the ids of its ends, column by column in order of ids: what must not change.
std::multiset<std::vector<uint64_t>> edges_by_id(const SampledMinibatch& m) {
  std::multiset<std::vector<uint64_t>> edges;
  for (const SampledLayer& layer : m.layers)
    for (uint32_t c = 0; c < layer.dst_end - layer.dst_begin; ++c)
      for (uint32_t e = layer.indptr[c]; e < layer.indptr[c + 1]; ++e)
        edges.insert({layer.hop, layer.edge_type, m.nodes[layer.dst_type][layer.dst_begin + c],
                      m.nodes[layer.src_type][layer.indices[e]], layer.edges.empty() ? 0 : layer.edges[e]});
  return edges;
}

Rows seed_ids(const SampledMinibatch& m) {
  Rows ids;
  for (const uint32_t row : m.seed_rows) ids.push_back(m.nodes[m.seed_type][row]);
  return ids;
}

TEST(a_permuted_minibatch_has_the_same_edges_and_seeds_by_id) {
  SampledMinibatch m = small_minibatch();
  const auto edges = edges_by_id(m);

  permute(m, 0, Rows{1, 0, 3, 2, 4});

  CHECK(m.nodes[0] == (Rows{10, 40, 20, 30, 50}));
  CHECK(m.seed_rows == (Rows{1, 0, 0}));
  CHECK(seed_ids(m) == (Rows{40, 10, 10}));
  CHECK(edges_by_id(m) == edges);
}

TEST(edges_of_a_column_keep_their_order_when_rows_move) {
  SampledMinibatch m = small_minibatch();

  permute(m, 0, Rows{1, 0, 3, 2, 4});

  CHECK(m.layers[0].indptr == (Rows{0, 1, 3}));
  CHECK(m.layers[0].indices == (Rows{1, 3, 2}));
  CHECK(m.layers[0].edges == (std::vector<uint64_t>{102, 100, 101}));
}

TEST(permuting_a_source_type_leaves_columns_alone) {
  SampledMinibatch m = small_minibatch();
  m.hop_offsets[1] = {0, 0, 2, 2};

  permute(m, 1, Rows{1, 0});

  CHECK(m.nodes[1] == (Rows{5, 7}));
  CHECK(m.layers[3].indices == (Rows{0, 1}));
  CHECK(m.layers[2].indices == small_minibatch().layers[2].indices);
}

TEST(the_two_ends_of_links_follow_their_own_types) {
  SampledMinibatch m = small_minibatch();
  m.hop_offsets[1] = {0, 2, 2, 2};
  m.seed_type = 0;
  m.link_src_type = 1;
  m.seed_rows = {0, 0, 1, 1};
  m.labels = {1, 0};

  permute(m, 1, Rows{1, 0});

  CHECK(m.seed_rows == (Rows{1, 0, 0, 1}));
}

TEST(an_order_that_leaves_its_segment_or_repeats_a_row_is_refused) {
  SampledMinibatch m = small_minibatch();

  CHECK_THROWS(permute(m, 0, Rows{2, 1, 0, 3, 4}), InvalidArgument, "new_order[0]: expected each row of [0, 2)");
  CHECK_THROWS(permute(m, 0, Rows{0, 0, 2, 3, 4}), InvalidArgument, "new_order[1]");
  CHECK_THROWS(permute(m, 0, Rows{0, 1}), InvalidArgument, "expected 5 rows, found 2");
  CHECK_THROWS(permute(m, 2, Rows{}), InvalidArgument, "expected one of 2 node types");
  CHECK(edges_by_id(m) == edges_by_id(small_minibatch()));
}

}  // namespace
}  // namespace outcrop::testing
