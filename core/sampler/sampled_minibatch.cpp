#include "sampler/sampled_minibatch.hpp"

#include <algorithm>
#include <string>

#include "error.hpp"

namespace outcrop {

namespace {

constexpr uint32_t kUnset = UINT32_MAX;

// Where each old row went; checks that it went no further than its segment.
std::vector<uint32_t> inverted(std::span<const uint32_t> new_order, const std::vector<uint64_t>& segments) {
  if (new_order.size() != segments.back())
    throw InvalidArgument("new_order: expected " + std::to_string(segments.back()) + " rows, found " +
                          std::to_string(new_order.size()));
  std::vector<uint32_t> new_row(new_order.size(), kUnset);
  for (size_t s = 0; s + 1 < segments.size(); ++s)
    for (uint64_t row = segments[s]; row < segments[s + 1]; ++row) {
      const uint32_t old = new_order[row];
      if (old < segments[s] || old >= segments[s + 1] || new_row[old] != kUnset)
        throw InvalidArgument("new_order[" + std::to_string(row) + "]: expected each row of [" +
                              std::to_string(segments[s]) + ", " + std::to_string(segments[s + 1]) + ") once, found " +
                              std::to_string(old));
      new_row[old] = static_cast<uint32_t>(row);
    }
  return new_row;
}

template <class T>
void reorder(std::vector<T>& values, std::span<const uint32_t> new_order) {
  if (values.empty()) return;
  std::vector<T> moved(values.size());
  for (size_t i = 0; i < moved.size(); ++i) moved[i] = values[new_order[i]];
  std::copy(moved.begin(), moved.end(), values.begin());
}

// Columns begin where a segment does, so the columns of a layer permute among themselves.
template <class T>
void reorder_columns(std::vector<T>& values, const std::vector<uint32_t>& indptr,
                     std::span<const uint32_t> old_columns) {
  if (values.empty()) return;
  std::vector<T> moved(values.size());
  auto end = moved.begin();
  for (const uint32_t c : old_columns) end = std::copy(values.data() + indptr[c], values.data() + indptr[c + 1], end);
  std::copy(moved.begin(), moved.end(), values.begin());
}

void reorder_columns(SampledLayer& layer, std::span<const uint32_t> new_order) {
  std::vector<uint32_t> old_columns(layer.dst_end - layer.dst_begin);
  for (size_t c = 0; c < old_columns.size(); ++c) old_columns[c] = new_order[layer.dst_begin + c] - layer.dst_begin;
  reorder_columns(layer.indices, layer.indptr, old_columns);
  reorder_columns(layer.edges, layer.indptr, old_columns);
  std::vector<uint32_t> indptr(layer.indptr.size());
  for (size_t c = 0; c < old_columns.size(); ++c)
    indptr[c + 1] = indptr[c] + layer.indptr[old_columns[c] + 1] - layer.indptr[old_columns[c]];
  std::copy(indptr.begin(), indptr.end(), layer.indptr.begin());
}

// With links, sources stand at even places and destinations at odd ones; their types may differ.
bool is_of_type(const SampledMinibatch& minibatch, size_t seed, uint32_t type) {
  const bool is_source = !minibatch.labels.empty() && seed % 2 == 0;
  return (is_source ? minibatch.link_src_type : minibatch.seed_type) == type;
}

}  // namespace

void permute(SampledMinibatch& minibatch, uint32_t type, std::span<const uint32_t> new_order) {
  if (type >= minibatch.nodes.size())
    throw InvalidArgument("type: expected one of " + std::to_string(minibatch.nodes.size()) + " node types, found " +
                          std::to_string(type));
  const std::vector<uint32_t> new_row = inverted(new_order, minibatch.hop_offsets[type]);
  reorder(minibatch.nodes[type], new_order);
  if (!minibatch.trees.empty()) reorder(minibatch.trees[type], new_order);
  for (SampledLayer& layer : minibatch.layers) {
    if (layer.dst_type == type) reorder_columns(layer, new_order);
    if (layer.src_type == type)
      for (uint32_t& row : layer.indices) row = new_row[row];
  }
  for (size_t s = 0; s < minibatch.seed_rows.size(); ++s)
    if (is_of_type(minibatch, s, type)) minibatch.seed_rows[s] = new_row[minibatch.seed_rows[s]];
}

}  // namespace outcrop
