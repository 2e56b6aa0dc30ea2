// Which further lists hold a copy of a vector, so that fewer lists need to be read.
#pragma once

#include <cstddef>
#include <cstdint>

namespace outcrop {

// nearest: the next nearest centroids.
// soar:    the centroid that minimises |r'|^2 + (r'.r)^2 / |r|^2, r being the residual to the first one: it is near,
// and wrong
//          in another direction (Sun et al., SOAR, 2024).
// rng:     a centroid is taken unless one already taken is nearer to it than the vector is (SPANN's closure; made for
//          centroids that are vectors of the set).
enum class CopyRule { nearest, soar, rng };

// rows: float32 [n, dim]. candidates: int32 [n, m] centroids, nearest first, -1 where there are fewer; distances: their
// squared Euclidean distances. centroids: float32 [num_centroids, dim]. out: int32 [n, copies]: the nearest centroid
// first, then the others in the order taken; -1 where the rule takes fewer.
void choose_copies(CopyRule rule, const float* rows, size_t n, size_t dim, const int32_t* candidates,
                   const float* distances, size_t m, const float* centroids, size_t copies, int32_t* out);

}  // namespace outcrop
