// A sampled minibatch and its recipes as they lie on disk (docs/formats/plan.md): every array is 8-byte aligned and
// little-endian, so a record that was read from the device is used in place, without decoding.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "sampler/sampled_minibatch.hpp"
#include "tiers/recipe.hpp"

namespace outcrop {

inline constexpr size_t kRecordAlignment = 4096;  // records begin where an O_DIRECT read may begin

// The bytes of one record, zero padded to a multiple of kRecordAlignment. Throws InvalidArgument when the minibatch is
// inconsistent: what is written can be parsed.
std::vector<std::byte> write_record(const SampledMinibatch& minibatch, std::span<const StreamRecipe> recipes);

struct NodesView {
  std::span<const uint32_t> nodes;
  std::span<const uint64_t> hop_offsets;
  std::span<const uint32_t> trees;  // empty, or one per node
};

struct LayerView {
  uint32_t edge_type, src_type, dst_type, hop, dst_begin, dst_end;
  std::span<const uint32_t> indptr;   // [dst_end - dst_begin + 1], from 0 to indices.size()
  std::span<const uint32_t> indices;  // rows of the source type
  std::span<const uint64_t> edges;    // empty, or one position per index
};

struct StreamView {
  uint32_t type;
  std::span<const SegmentMove> segments;  // one per hop segment of the type
  std::span<const uint32_t> hit_slots;
  std::span<const uint32_t> insert_rows, insert_slots;
};

// What a minibatch's numbers must stay below. Counts of the graph, the caches and the logs that the plan names.
struct RecordBounds {
  struct Stream {
    uint64_t num_slots;
    uint64_t row_bytes;
    uint64_t log_bytes;
  };
  std::vector<uint64_t> num_nodes;  // by type
  uint32_t num_edge_types = 0;
  std::vector<Stream> streams;  // in the order of the plan's streams; empty for a minibatch without recipes
};

// Views into the bytes of one record, which must outlive it.
struct MinibatchView {
  uint64_t epoch = 0, batch = 0;
  uint32_t seed_type = 0, link_src_type = 0;
  std::vector<NodesView> types;
  std::vector<LayerView> layers;
  std::vector<StreamView> streams;
  std::span<const uint32_t> seed_rows;
  std::span<const float> labels;

  // `record`: 8-byte aligned, at least one whole record; what follows it is not looked at. `where` names it in errors.
  // Throws CorruptFile when a count, an offset or an index pointer is not what the format says; the values inside
  // nodes, indices and slots are only bounded by check().
  static MinibatchView parse(std::span<const std::byte> record, const std::string& where);

  // Throws CorruptFile when a value would make a reader leave its arrays. One pass over everything.
  void check(const RecordBounds& bounds, const std::string& where) const;

  SampledMinibatch copied() const;  // without the recipes
};

}  // namespace outcrop
