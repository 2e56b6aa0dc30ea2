// One query, prepared once: distances to the codes of a list, and to raw rows.
#pragma once

#include <cstddef>

#include "search/index_view.hpp"

namespace outcrop {

class QueryScan {
 public:
  // query: float32 [dim]. typed: the same query in the rows' own integer type, or null when it does not fit that type.
  // Both must outlive the scan.
  void prepare(const IndexView& index, const float* query, const std::byte* typed);

  void code_distances(const std::byte* codes, size_t n, float* out) const;
  void row_distances(const std::byte* rows, size_t n, float* out) const;

 private:
  const IndexView* index_ = nullptr;
  const float* query_ = nullptr;
  const std::byte* typed_ = nullptr;
  Sq8Query sq8_;
};

}  // namespace outcrop
