#include "search/copies.hpp"

#include <algorithm>
#include <vector>

#include "kernels/distance.hpp"

namespace outcrop {

namespace {

struct Vector {  // one row and its candidates
  const float* x;
  size_t dim;
  const int32_t* candidates;
  const float* distances;
  size_t m;
  const float* centroids;

  const float* centroid(size_t i) const { return centroids + static_cast<size_t>(candidates[i]) * dim; }
};

float squared_distance(const float* a, const float* b, size_t dim) {
  float out;
  distances(Dtype::float32, Metric::l2, a, reinterpret_cast<const std::byte*>(b), 1, dim, dim * 4, &out);
  return out;
}

void choose_nearest(const Vector& v, size_t copies, int32_t* out) {
  for (size_t i = 0; i < std::min(copies, v.m); i++) out[i] = v.candidates[i];
}

// (r'.r)^2 / |r|^2, from the three distances of the triangle x, first, other: 2 r'.r = |r|^2 + |r'|^2 - |first -
// other|^2.
float soar_cost(const Vector& v, size_t i) {
  float first = v.distances[0], other = v.distances[i];
  float dot = 0.5f * (first + other - squared_distance(v.centroid(0), v.centroid(i), v.dim));
  return other + (first > 0 ? dot * dot / first : 0);
}

void choose_soar(const Vector& v, size_t copies, int32_t* out) {
  std::vector<std::pair<float, int32_t>> costs;
  for (size_t i = 1; i < v.m && v.candidates[i] >= 0; i++) costs.emplace_back(soar_cost(v, i), v.candidates[i]);
  size_t taken = std::min(copies - 1, costs.size());
  std::partial_sort(costs.begin(), costs.begin() + static_cast<std::ptrdiff_t>(taken), costs.end());
  for (size_t i = 0; i < taken; i++) out[i + 1] = costs[i].second;
}

void choose_rng(const Vector& v, size_t copies, int32_t* out) {
  std::vector<size_t> taken{0};
  for (size_t i = 1; i < v.m && v.candidates[i] >= 0 && taken.size() < copies; i++) {
    bool shadowed = std::any_of(taken.begin(), taken.end(), [&](size_t t) {
      return squared_distance(v.centroid(t), v.centroid(i), v.dim) < v.distances[i];
    });
    if (!shadowed) taken.push_back(i);
  }
  for (size_t t = 0; t < taken.size(); t++) out[t] = v.candidates[taken[t]];
}

}  // namespace

void choose_copies(CopyRule rule, const float* rows, size_t n, size_t dim, const int32_t* candidates,
                   const float* distances, size_t m, const float* centroids, size_t copies, int32_t* out) {
  for (size_t row = 0; row < n; row++) {
    Vector v{rows + row * dim, dim, candidates + row * m, distances + row * m, m, centroids};
    int32_t* chosen = out + row * copies;
    std::fill(chosen, chosen + copies, -1);
    chosen[0] = v.candidates[0];
    if (rule == CopyRule::nearest) choose_nearest(v, copies, chosen);
    if (rule == CopyRule::soar) choose_soar(v, copies, chosen);
    if (rule == CopyRule::rng) choose_rng(v, copies, chosen);
  }
}

}  // namespace outcrop
