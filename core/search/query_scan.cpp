#include "search/query_scan.hpp"

#include "kernels/distance.hpp"

namespace outcrop {

void QueryScan::prepare(const IndexView& index, const float* query, const std::byte* typed) {
  index_ = &index;
  query_ = query;
  typed_ = typed;
  if (index.sq8) sq8_.prepare(*index.sq8, index.metric, query);
}

void QueryScan::code_distances(const std::byte* codes, size_t n, float* out) const {
  if (index_->sq8)
    sq8_distances(sq8_, codes, n, index_->shape.code_bytes, out);
  else
    row_distances(codes, n, out);
}

void QueryScan::row_distances(const std::byte* rows, size_t n, float* out) const {
  size_t dim = index_->dim, stride = index_->row_bytes();
  if (typed_ == nullptr)
    distances(index_->dtype, index_->metric, query_, rows, n, dim, stride, out);
  else if (index_->dtype == Dtype::uint8)
    distances_u8(index_->metric, reinterpret_cast<const uint8_t*>(typed_), rows, n, dim, stride, out);
  else
    distances_i8(index_->metric, reinterpret_cast<const int8_t*>(typed_), rows, n, dim, stride, out);
}

}  // namespace outcrop
