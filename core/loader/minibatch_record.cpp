#include "loader/minibatch_record.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "error.hpp"

namespace outcrop {
namespace {

static_assert(std::endian::native == std::endian::little, "records are used in place");

constexpr uint64_t kMagic = 0x31'48'43'54'41'42'4e'4d;  // "MNBATCH1"

struct Header {
  uint64_t magic, record_bytes, epoch, batch;
  uint64_t num_types, num_layers, num_streams;
  uint64_t seed_type, link_src_type, num_seed_rows, num_labels;
  uint64_t reserved[5];
};
static_assert(sizeof(Header) == 128);

struct TypeEntry {
  uint64_t num_nodes, num_hop_offsets, num_trees, reserved;
};
struct LayerEntry {
  uint32_t edge_type, src_type, dst_type, hop, dst_begin, dst_end;
  uint64_t num_indices, num_edges;
};
struct StreamEntry {
  uint64_t type, num_segments, num_hits, num_inserts;
};
static_assert(sizeof(TypeEntry) == 32 && sizeof(LayerEntry) == 40 && sizeof(StreamEntry) == 32);
static_assert(sizeof(SegmentMove) == 24);

constexpr uint64_t round_up(uint64_t value, uint64_t step) { return (value + step - 1) / step * step; }

// ---- writing

class Writer {
 public:
  template <class T>
  void put(const std::vector<T>& values) {
    put_bytes(values.data(), values.size() * sizeof(T));
    bytes_.resize(round_up(bytes_.size(), 8));
  }
  void put_bytes(const void* data, size_t size) {
    const auto* from = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), from, from + size);
  }
  void reserve(size_t size) { bytes_.reserve(size); }
  std::vector<std::byte>& bytes() { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

uint64_t arrays_bytes(const SampledMinibatch& minibatch, std::span<const StreamRecipe> recipes) {
  uint64_t total = 0;
  for (const auto& nodes : minibatch.nodes) total += 16 * nodes.size();
  for (const auto& layer : minibatch.layers)
    total += 4 * (layer.indptr.size() + layer.indices.size()) + 8 * layer.edges.size();
  for (const auto& recipe : recipes)
    total += 24 * recipe.segments.size() + 4 * recipe.hit_slots.size() + 8 * recipe.insert_rows.size();
  return total + 4 * minibatch.seed_rows.size() + 4 * minibatch.labels.size() + (64 << 10);
}

void put_tables(Writer& out, const SampledMinibatch& minibatch, std::span<const StreamRecipe> recipes) {
  for (size_t t = 0; t < minibatch.nodes.size(); ++t) {
    const uint64_t num_trees = minibatch.trees.empty() ? 0 : minibatch.trees[t].size();
    const TypeEntry entry{minibatch.nodes[t].size(), minibatch.hop_offsets[t].size(), num_trees, 0};
    out.put_bytes(&entry, sizeof entry);
  }
  for (const auto& layer : minibatch.layers) {
    const LayerEntry entry{layer.edge_type, layer.src_type, layer.dst_type,       layer.hop,
                           layer.dst_begin, layer.dst_end,  layer.indices.size(), layer.edges.size()};
    out.put_bytes(&entry, sizeof entry);
  }
  for (const auto& recipe : recipes) {
    const StreamEntry entry{recipe.type, recipe.segments.size(), recipe.hit_slots.size(), recipe.insert_rows.size()};
    out.put_bytes(&entry, sizeof entry);
  }
}

void put_arrays(Writer& out, const SampledMinibatch& minibatch, std::span<const StreamRecipe> recipes) {
  for (size_t t = 0; t < minibatch.nodes.size(); ++t) {
    out.put(minibatch.nodes[t]);
    out.put(minibatch.hop_offsets[t]);
    if (!minibatch.trees.empty()) out.put(minibatch.trees[t]);
  }
  for (const auto& layer : minibatch.layers) {
    out.put(layer.indptr);
    out.put(layer.indices);
    out.put(layer.edges);
  }
  for (const auto& recipe : recipes) {
    out.put(recipe.segments);
    out.put(recipe.hit_slots);
    out.put(recipe.insert_rows);
    out.put(recipe.insert_slots);
  }
  out.put(minibatch.seed_rows);
  out.put(minibatch.labels);
}

// ---- reading

[[noreturn]] void corrupt(const std::string& where, const std::string& what) { throw CorruptFile(where + ": " + what); }

void expect(bool condition, const std::string& where, const char* what) {
  if (!condition) corrupt(where, what);
}

// Hands out arrays one behind the other; a count from disk never leads outside.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, const std::string& where) : rest_(bytes), where_(where) {}

  template <class T>
  std::span<const T> take(uint64_t count, const char* what) {
    if (count > rest_.size() / sizeof(T))
      corrupt(where_, std::string(what) + ": expected " + std::to_string(count) + " items of " +
                          std::to_string(sizeof(T)) + " bytes, found room for " +
                          std::to_string(rest_.size() / sizeof(T)));
    const auto* begin = reinterpret_cast<const T*>(rest_.data());
    rest_ = rest_.subspan(std::min<size_t>(round_up(count * sizeof(T), 8), rest_.size()));
    return {begin, size_t(count)};
  }
  size_t left() const { return rest_.size(); }

 private:
  std::span<const std::byte> rest_;
  const std::string& where_;
};

template <class T>
bool ascends(std::span<const T> offsets, uint64_t end) {
  return !offsets.empty() && offsets.front() == 0 && offsets.back() == end &&
         std::is_sorted(offsets.begin(), offsets.end());
}

NodesView take_nodes(Cursor& cursor, const TypeEntry& entry, const std::string& where) {
  NodesView view;
  view.nodes = cursor.take<uint32_t>(entry.num_nodes, "nodes");
  view.hop_offsets = cursor.take<uint64_t>(entry.num_hop_offsets, "hop offsets");
  view.trees = cursor.take<uint32_t>(entry.num_trees, "trees");
  expect(ascends(view.hop_offsets, entry.num_nodes), where, "hop offsets do not ascend from 0 to the nodes");
  expect(entry.num_trees == 0 || entry.num_trees == entry.num_nodes, where, "trees: expected none or one per node");
  expect(entry.reserved == 0, where, "reserved field is not zero");
  return view;
}

LayerView take_layer(Cursor& cursor, const LayerEntry& entry, const std::vector<NodesView>& types,
                     const std::string& where) {
  expect(entry.src_type < types.size() && entry.dst_type < types.size(), where, "a layer names an unknown node type");
  expect(entry.dst_end <= types[entry.dst_type].nodes.size(), where, "a layer has more columns than nodes");
  expect(entry.dst_begin <= entry.dst_end, where, "a layer ends before it begins");
  LayerView view{
      entry.edge_type, entry.src_type, entry.dst_type, entry.hop, entry.dst_begin, entry.dst_end, {}, {}, {}};
  view.indptr = cursor.take<uint32_t>(uint64_t{entry.dst_end} - entry.dst_begin + 1, "indptr");
  view.indices = cursor.take<uint32_t>(entry.num_indices, "indices");
  view.edges = cursor.take<uint64_t>(entry.num_edges, "edges");
  expect(ascends(view.indptr, entry.num_indices), where, "indptr does not ascend from 0 to the indices");
  expect(entry.num_edges == 0 || entry.num_edges == entry.num_indices, where, "edges: expected none or one per index");
  return view;
}

// Every row of the type comes from exactly one place.
void check_segments(const StreamView& stream, const NodesView& nodes, const std::string& where) {
  expect(stream.segments.size() + 1 == nodes.hop_offsets.size(), where, "expected one move for each hop");
  uint64_t hits = 0;
  for (size_t h = 0; h < stream.segments.size(); ++h) {
    const uint64_t length = nodes.hop_offsets[h + 1] - nodes.hop_offsets[h];
    const SegmentMove& move = stream.segments[h];
    expect(move.num_misses <= length && move.num_hits == length - move.num_misses, where,
           "misses and hits of a hop do not add up to its rows");
    hits += move.num_hits;
  }
  expect(hits == stream.hit_slots.size(), where, "hit slots do not add up");
}

StreamView take_stream(Cursor& cursor, const StreamEntry& entry, const std::vector<NodesView>& types,
                       const std::string& where) {
  expect(entry.type < types.size(), where, "a stream names a type that is not there");
  StreamView view;
  view.type = uint32_t(entry.type);
  view.segments = cursor.take<SegmentMove>(entry.num_segments, "segments");
  view.hit_slots = cursor.take<uint32_t>(entry.num_hits, "hit slots");
  view.insert_rows = cursor.take<uint32_t>(entry.num_inserts, "insert rows");
  view.insert_slots = cursor.take<uint32_t>(entry.num_inserts, "insert slots");
  check_segments(view, types[view.type], where);
  return view;
}

void expect_below(std::span<const uint32_t> values, uint64_t end, const std::string& where, const char* what) {
  // Without a branch per value, so that the compiler vectorises it: millions of values pass here for each minibatch.
  uint32_t largest = 0;
  for (const uint32_t value : values) largest = std::max(largest, value);
  if (!values.empty() && largest >= end)
    corrupt(where,
            std::string(what) + ": found " + std::to_string(largest) + ", expected less than " + std::to_string(end));
}

void check_stream(const StreamView& stream, const NodesView& nodes, const RecordBounds::Stream& bounds,
                  const std::string& where) {
  expect_below(stream.hit_slots, bounds.num_slots, where, "hit slot");
  expect_below(stream.insert_slots, bounds.num_slots, where, "insert slot");
  expect_below(stream.insert_rows, nodes.nodes.size(), where, "insert row");
  for (const SegmentMove& move : stream.segments)
    if (move.num_misses > 0)
      expect(move.log_offset <= bounds.log_bytes &&
                 move.num_misses <= (bounds.log_bytes - move.log_offset) / bounds.row_bytes,
             where, "misses lie behind the end of the log");
}

// Of links, sources and destinations take turns.
void check_seeds(const MinibatchView& view, const std::string& where) {
  const uint64_t num_seeds = view.types[view.seed_type].nodes.size();
  if (view.labels.empty()) return expect_below(view.seed_rows, num_seeds, where, "seed row");
  expect(view.seed_rows.size() == 2 * view.labels.size(), where, "expected two seed rows for each label");
  const uint64_t num_sources = view.types[view.link_src_type].nodes.size();
  for (size_t i = 0; i < view.seed_rows.size(); ++i)
    expect(view.seed_rows[i] < (i % 2 == 0 ? num_sources : num_seeds), where, "seed row: not a row of its type");
}

}  // namespace

std::vector<std::byte> write_record(const SampledMinibatch& minibatch, std::span<const StreamRecipe> recipes) {
  if (minibatch.hop_offsets.size() != minibatch.nodes.size() ||
      (!minibatch.trees.empty() && minibatch.trees.size() != minibatch.nodes.size()))
    throw InvalidArgument("minibatch: hop offsets and trees must have one entry for each node type");
  for (const auto& layer : minibatch.layers)
    if (layer.indptr.size() != size_t{layer.dst_end} - layer.dst_begin + 1)
      throw InvalidArgument("minibatch: a layer's indptr does not have one entry more than its columns");
  for (const auto& recipe : recipes)
    if (recipe.insert_rows.size() != recipe.insert_slots.size())
      throw InvalidArgument("recipe: expected a slot for each inserted row");
  Writer out;
  out.reserve(round_up(arrays_bytes(minibatch, recipes), kRecordAlignment));
  Header header{};
  out.put_bytes(&header, sizeof header);
  put_tables(out, minibatch, recipes);
  put_arrays(out, minibatch, recipes);
  header = {kMagic,
            out.bytes().size(),
            minibatch.epoch,
            minibatch.batch,
            minibatch.nodes.size(),
            minibatch.layers.size(),
            recipes.size(),
            minibatch.seed_type,
            minibatch.link_src_type,
            minibatch.seed_rows.size(),
            minibatch.labels.size(),
            {}};
  std::memcpy(out.bytes().data(), &header, sizeof header);
  MinibatchView::parse(out.bytes(), "minibatch");
  out.bytes().resize(round_up(out.bytes().size(), kRecordAlignment));
  return std::move(out.bytes());
}

MinibatchView MinibatchView::parse(std::span<const std::byte> record, const std::string& where) {
  Cursor whole(record, where);
  const Header header = whole.take<Header>(1, "header")[0];
  expect(header.magic == kMagic, where, "no minibatch record begins here");
  expect(header.record_bytes >= sizeof header && header.record_bytes <= record.size(), where,
         "the record is longer than the bytes that are there");
  expect(std::all_of(std::begin(header.reserved), std::end(header.reserved), [](uint64_t r) { return r == 0; }), where,
         "reserved field is not zero");
  Cursor cursor(record.subspan(sizeof header, header.record_bytes - sizeof header), where);
  const auto type_entries = cursor.take<TypeEntry>(header.num_types, "types");
  const auto layer_entries = cursor.take<LayerEntry>(header.num_layers, "layers");
  const auto stream_entries = cursor.take<StreamEntry>(header.num_streams, "streams");

  MinibatchView view;
  view.epoch = header.epoch, view.batch = header.batch;
  for (const auto& entry : type_entries) view.types.push_back(take_nodes(cursor, entry, where));
  for (const auto& entry : layer_entries) view.layers.push_back(take_layer(cursor, entry, view.types, where));
  for (const auto& entry : stream_entries) view.streams.push_back(take_stream(cursor, entry, view.types, where));
  view.seed_rows = cursor.take<uint32_t>(header.num_seed_rows, "seed rows");
  view.labels = cursor.take<float>(header.num_labels, "labels");
  expect(cursor.left() == 0, where, "bytes are left over behind the labels");
  expect(std::max(header.seed_type, header.link_src_type) < view.types.size(), where,
         "the seeds name a type that is not there");
  view.seed_type = uint32_t(header.seed_type), view.link_src_type = uint32_t(header.link_src_type);
  return view;
}

void MinibatchView::check(const RecordBounds& bounds, const std::string& where) const {
  expect(types.size() == bounds.num_nodes.size(), where, "expected the node types of the graph");
  for (size_t t = 0; t < types.size(); ++t) expect_below(types[t].nodes, bounds.num_nodes[t], where, "node");
  for (const LayerView& layer : layers) {
    expect(layer.edge_type < bounds.num_edge_types, where, "a layer names an edge type that the graph has not");
    expect_below(layer.indices, types[layer.src_type].nodes.size(), where, "source row");
  }
  check_seeds(*this, where);
  expect(streams.size() == bounds.streams.size(), where, "expected the streams of the plan");
  for (size_t s = 0; s < streams.size(); ++s)
    check_stream(streams[s], types[streams[s].type], bounds.streams[s], where);
}

SampledMinibatch MinibatchView::copied() const {
  const auto vector = []<class T>(std::span<const T> values) { return std::vector<T>(values.begin(), values.end()); };
  SampledMinibatch copy;
  copy.epoch = epoch, copy.batch = batch, copy.seed_type = seed_type, copy.link_src_type = link_src_type;
  for (const NodesView& type : types) {
    copy.nodes.push_back(vector(type.nodes));
    copy.hop_offsets.push_back(vector(type.hop_offsets));
  }
  const bool disjoint = std::any_of(types.begin(), types.end(), [](const auto& type) { return !type.trees.empty(); });
  if (disjoint)
    for (const NodesView& type : types) copy.trees.push_back(vector(type.trees));
  for (const LayerView& layer : layers)
    copy.layers.push_back({layer.edge_type, layer.src_type, layer.dst_type, layer.hop, layer.dst_begin, layer.dst_end,
                           vector(layer.indptr), vector(layer.indices), vector(layer.edges)});
  copy.seed_rows = vector(seed_rows);
  copy.labels = vector(labels);
  return copy;
}

}  // namespace outcrop
