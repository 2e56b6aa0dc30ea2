#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>

#include "error.hpp"
#include "kernels/top_k.hpp"
#include "tests/check.hpp"

namespace outcrop {

static bool operator==(const Neighbor& a, const Neighbor& b) { return !(a < b) && !(b < a); }

}  // namespace outcrop

namespace outcrop::testing {
namespace {

using Neighbors = std::vector<Neighbor>;

// The oracle: the best entry of each id, sorted, cut.
Neighbors best_of(const Neighbors& offered, size_t k) {
  std::map<int64_t, Neighbor> best;
  for (const Neighbor& entry : offered) {
    const auto [found, is_new] = best.emplace(entry.id, entry);
    if (!is_new && entry < found->second) found->second = entry;
  }
  Neighbors sorted;
  for (const auto& [id, entry] : best) sorted.push_back(entry);
  std::sort(sorted.begin(), sorted.end());
  sorted.resize(std::min(k, sorted.size()));
  return sorted;
}

Neighbors selected(const Neighbors& offered, size_t k) {
  TopK top(k);
  for (const Neighbor& entry : offered) top.push(entry.distance, entry.id, entry.row);
  return top.sorted();
}

// Few distances and few ids: ties and copies everywhere.
Neighbors random_entries(size_t n, uint64_t num_ids, uint64_t num_distances, uint64_t seed) {
  std::mt19937_64 random(seed);
  Neighbors entries;
  for (size_t i = 0; i < n; ++i)
    entries.push_back({static_cast<float>(random() % num_distances), static_cast<int64_t>(random() % num_ids) - 5,
                       random() % (4 * n)});
  return entries;
}

TEST(top_k_equals_sorting_the_best_of_each_id_whatever_the_order_of_pushes) {
  std::mt19937_64 random(3);
  for (size_t k : {size_t{1}, size_t{2}, size_t{10}, size_t{64}, size_t{65}, size_t{500}, TopK::kMaxK})
    for (uint64_t num_ids : {3, 100, 5000})
      for (uint64_t num_distances : {1, 7, 1000000}) {
        Neighbors entries = random_entries(3000, num_ids, num_distances, k + num_ids + num_distances);
        const Neighbors expected = best_of(entries, k);
        CHECK(selected(entries, k) == expected);
        std::shuffle(entries.begin(), entries.end(), random);
        CHECK(selected(entries, k) == expected);
        std::sort(entries.begin(), entries.end());
        CHECK(selected(entries, k) == expected);
        std::reverse(entries.begin(), entries.end());
        CHECK(selected(entries, k) == expected);
      }
}

TEST(top_k_holds_the_right_entries_and_threshold_after_every_push) {
  const Neighbors entries = random_entries(400, 40, 50, 11);
  TopK top(8);
  for (size_t i = 0; i < entries.size(); ++i) {
    top.push(entries[i].distance, entries[i].id, entries[i].row);
    const Neighbors expected = best_of({entries.begin(), entries.begin() + static_cast<std::ptrdiff_t>(i) + 1}, 8);
    REQUIRE(top.sorted() == expected);
    const float worst = expected.size() < 8 ? std::numeric_limits<float>::infinity() : expected.back().distance;
    CHECK_EQUAL(top.threshold(), worst);
  }
}

TEST(top_k_takes_nan_as_infinity_and_minus_zero_as_zero) {
  TopK top(2);
  CHECK(top.push(NAN, 1, 0));
  CHECK(top.push(INFINITY, 0, 0));
  CHECK(!top.push(NAN, 2, 0));  // as far as the others, and a larger id
  const Neighbors both = top.sorted();
  CHECK_EQUAL(both[0].id, int64_t{0});
  CHECK(std::isinf(both[1].distance));
  CHECK(top.push(-0.0f, 3, 0));
  CHECK(!std::signbit(top.sorted()[0].distance));
}

TEST(top_k_is_empty_again_after_clear) {
  TopK top(3);
  for (int64_t id = 0; id < 9; ++id) top.push(static_cast<float>(id), id, 0);
  top.clear();
  CHECK(top.sorted().empty());
  CHECK(std::isinf(top.threshold()));
  CHECK(top.push(1e30f, 0, 5));
  CHECK(top.sorted()[0].row == 5);
}

TEST(top_k_refuses_a_k_outside_its_range) {
  CHECK_THROWS(TopK(0), InvalidArgument, "expected 1 to 16384, found 0");
  CHECK_THROWS(TopK(16385), InvalidArgument, "found 16385");
}

}  // namespace
}  // namespace outcrop::testing
