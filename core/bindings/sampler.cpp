// The sampler and what it draws. Arrays of a minibatch are views of the core's memory and keep it alive.
#include "sampler/sampler.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <tuple>

#include "bindings/bindings.hpp"
#include "error.hpp"
#include "sampler/seed_nodes.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace outcrop::bindings {

namespace {

template <class T>
using Vector = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using View = nb::ndarray<nb::numpy, const T, nb::ndim<1>>;

void require(bool condition, const std::string& message) {
  if (!condition) throw InvalidArgument(message);
}

// Arrays that a sampler reads stay alive with it.
struct BoundGraph {
  GraphView view;
  std::vector<nb::ndarray<>> arrays;

  template <class T>
  const T* keep(const std::optional<Vector<T>>& array, uint64_t size, const std::string& what) {
    if (!array) return nullptr;
    require(array->shape(0) == size,
            what + ": expected " + std::to_string(size) + " values, found " + std::to_string(array->shape(0)));
    arrays.emplace_back(*array);
    return array->data();
  }
};

struct BoundSampler {
  BoundGraph graph;
  Sampler sampler;

  BoundSampler(const BoundGraph& bound, SamplerOptions options)
      : graph(bound), sampler(graph.view, std::move(options)) {}
};

void add_edge_type(BoundGraph& graph, const std::string& name, uint32_t src_type, uint32_t dst_type,
                   const Vector<int64_t>& indptr, const Vector<uint32_t>& indices,
                   const std::optional<Vector<float>>& weights, const std::optional<Vector<int64_t>>& times,
                   bool times_ascend) {
  EdgeTypeView edges;
  edges.name = name;
  edges.src_type = src_type;
  edges.dst_type = dst_type;
  edges.csc.num_dst = graph.view.num_nodes.at(dst_type);
  edges.csc.num_edges = indices.shape(0);
  edges.csc.indptr = graph.keep<int64_t>(indptr, edges.csc.num_dst + 1, "edges " + name + ": indptr");
  edges.csc.indices = graph.keep<uint32_t>(indices, edges.csc.num_edges, "indices");
  edges.csc.weights = graph.keep(weights, edges.csc.num_edges, "edges " + name + ": weights");
  edges.csc.times = graph.keep(times, edges.csc.num_edges, "edges " + name + ": times");
  edges.csc.times_ascend = times_ascend;
  graph.view.edge_types.push_back(edges);
}

void set_node_times(BoundGraph& graph, uint32_t type, const Vector<int64_t>& times) {
  graph.view.node_times.at(type) = graph.keep<int64_t>(times, graph.view.num_nodes.at(type), "node times");
}

// nodes, of links both ends in turn, and times, one per seed: of all minibatches, one after the other. offsets: where
// the seeds of each begin, [num_minibatches + 1].
std::vector<SampledMinibatch> sample_batches(const BoundSampler& bound, const Vector<uint32_t>& nodes,
                                             const Vector<uint64_t>& offsets,
                                             const std::optional<Vector<int64_t>>& times, uint64_t epoch,
                                             uint64_t first_batch, uint32_t type, std::optional<uint32_t> link_src_type,
                                             uint32_t negatives, size_t num_threads, const StopWords& stop) {
  const size_t width = link_src_type ? 2 : 1, num_seeds = nodes.shape(0) / width;
  require(offsets.shape(0) > 0 && std::is_sorted(offsets.data(), offsets.data() + offsets.shape(0)) &&
              offsets.data()[offsets.shape(0) - 1] <= num_seeds,
          "offsets: expected ascending ones up to " + std::to_string(num_seeds) + " seeds");
  require(!times || times->shape(0) == num_seeds, "times: expected one for each of " + std::to_string(num_seeds) +
                                                      " seeds, found " + std::to_string(times ? times->shape(0) : 0));
  std::vector<SeedBatch> batches;
  for (size_t i = 0; i + 1 < offsets.shape(0); ++i) {
    const size_t begin = offsets.data()[i], count = offsets.data()[i + 1] - begin;
    SeedBatch seeds{epoch, first_batch + i, type, {nodes.data() + begin * width, count * width}};
    if (times) seeds.times = {times->data() + begin, count};
    seeds.links = link_src_type.has_value();
    seeds.src_type = link_src_type.value_or(0);
    seeds.negatives = seeds.links ? negatives : 0;
    batches.push_back(seeds);
  }
  nb::gil_scoped_release unlocked;
  return bound.sampler.sample_many(batches, num_threads, stop_of(stop));
}

nb::ndarray<nb::numpy, uint32_t, nb::ndim<1>> seed_order_array(uint32_t n, uint64_t seed, uint64_t epoch) {
  auto* order = new std::vector<uint32_t>(seed_order(n, seed, epoch));
  nb::capsule owner(order, [](void* p) noexcept { delete static_cast<std::vector<uint32_t>*>(p); });
  return {order->data(), {order->size()}, owner};
}

template <class T>
View<T> view(const std::vector<T>& values, nb::handle owner) {
  return View<T>(values.data(), {values.size()}, owner);
}

template <class T>
std::vector<View<T>> views(const std::vector<std::vector<T>>& by_type, nb::handle owner) {
  std::vector<View<T>> arrays;
  for (const std::vector<T>& values : by_type) arrays.push_back(view(values, owner));
  return arrays;
}

const SampledMinibatch& of(nb::handle self) { return nb::cast<const SampledMinibatch&>(self); }

using LayerArrays = std::tuple<uint32_t, uint32_t, uint32_t, uint32_t, View<uint32_t>, View<uint32_t>, View<uint64_t>>;

LayerArrays layer_arrays(nb::handle self, size_t number) {
  const SampledLayer& layer = of(self).layers.at(number);
  return {layer.edge_type,          layer.hop,
          layer.dst_begin,          layer.dst_end,
          view(layer.indptr, self), view(layer.indices, self),
          view(layer.edges, self)};
}

size_t num_bytes(const SampledMinibatch& minibatch) {
  size_t words = minibatch.seed_rows.size() + minibatch.labels.size(), longs = 0;
  for (const auto& nodes : minibatch.nodes) words += nodes.size();
  for (const auto& trees : minibatch.trees) words += trees.size();
  for (const auto& offsets : minibatch.hop_offsets) longs += offsets.size();
  for (const SampledLayer& layer : minibatch.layers) {
    words += layer.indptr.size() + layer.indices.size();
    longs += layer.edges.size();
  }
  return words * sizeof(uint32_t) + longs * sizeof(uint64_t);
}

void bind_minibatch(nb::module_& m) {
  nb::class_<SampledMinibatch>(m, "SampledMinibatch",
                               "A minibatch in the core; sampled_minibatch.hpp tells each part. Arrays are read-only "
                               "views, by type where there is one per type.")
      .def_ro("epoch", &SampledMinibatch::epoch)
      .def_ro("batch", &SampledMinibatch::batch)
      .def_ro("seed_type", &SampledMinibatch::seed_type)
      .def_ro("link_src_type", &SampledMinibatch::link_src_type)
      .def_prop_ro("nodes", [](nb::handle self) { return views(of(self).nodes, self); })
      .def_prop_ro("hop_offsets", [](nb::handle self) { return views(of(self).hop_offsets, self); })
      .def_prop_ro("trees", [](nb::handle self) { return views(of(self).trees, self); })
      .def_prop_ro("seed_rows", [](nb::handle self) { return view(of(self).seed_rows, self); })
      .def_prop_ro("labels", [](nb::handle self) { return view(of(self).labels, self); })
      .def_prop_ro("num_layers", [](const SampledMinibatch& self) { return self.layers.size(); })
      .def_prop_ro("num_bytes", num_bytes)
      .def("layer", layer_arrays, "number"_a,
           "Return (edge_type, hop, dst_begin, dst_end, indptr, indices, edges) of one layer.")
      .def(
          "permute",
          [](SampledMinibatch& self, uint32_t type, const Vector<uint32_t>& new_order) {
            nb::gil_scoped_release unlocked;
            permute(self, type, {new_order.data(), new_order.shape(0)});
          },
          "type"_a, "new_order"_a,
          "Renumber the rows of a type inside their hop segments: new row i is old row new_order[i]. Views see it.");
}

}  // namespace

void bind_sampler(nb::module_& m) {
  nb::enum_<Labor>(m, "Labor").value("off", Labor::off).value("per_hop", Labor::per_hop).value("shared", Labor::shared);
  nb::enum_<Temporal>(m, "Temporal")
      .value("off", Temporal::off)
      .value("uniform", Temporal::uniform)
      .value("last", Temporal::last);
  nb::enum_<Expand>(m, "Expand").value("all", Expand::all).value("newcomers", Expand::newcomers);
  nb::class_<BoundGraph>(m, "GraphView", "The arrays of a graph, as a sampler reads them; kept, not copied.")
      .def("__init__",
           [](BoundGraph* self, std::vector<uint64_t> num_nodes) {
             new (self) BoundGraph();
             self->view.node_times.assign(num_nodes.size(), nullptr);
             self->view.num_nodes = std::move(num_nodes);
           })
      .def("add_edge_type", add_edge_type, "name"_a, "src_type"_a, "dst_type"_a, "indptr"_a.noconvert(),
           "indices"_a.noconvert(), "weights"_a.noconvert().none(), "times"_a.noconvert().none(), "times_ascend"_a,
           "Add edges by destination: indptr and times int64, indices uint32, weights float32.")
      .def("set_node_times", set_node_times, "type"_a, "times"_a.noconvert());
  nb::class_<SamplerOptions>(m, "SamplerOptions", "How to sample; core/sampler/sampler.hpp tells each field.")
      .def(nb::init<>())
      .def_rw("fanouts", &SamplerOptions::fanouts)
      .def_rw("seed", &SamplerOptions::seed)
      .def_rw("replace", &SamplerOptions::replace)
      .def_rw("weighted", &SamplerOptions::weighted)
      .def_rw("labor", &SamplerOptions::labor)
      .def_rw("temporal", &SamplerOptions::temporal)
      .def_rw("disjoint", &SamplerOptions::disjoint)
      .def_rw("expand", &SamplerOptions::expand)
      .def_rw("keep_edges", &SamplerOptions::keep_edges);
  nb::class_<BoundSampler>(m, "Sampler", "Draws minibatches from any thread; core/sampler/sampler.hpp.")
      .def(nb::init<const BoundGraph&, SamplerOptions>(), "graph"_a, "options"_a)
      .def("sample_batches", sample_batches, "nodes"_a, "offsets"_a, "times"_a.none(), nb::kw_only(), "epoch"_a,
           "first_batch"_a, "type"_a, "link_src_type"_a.none(), "negatives"_a, "num_threads"_a,
           "stop"_a.noconvert().none() = nb::none(),
           "Draw minibatches first_batch, first_batch + 1, ...: one for each stretch of seeds between two offsets.")
      .def(
          "statistics",
          [](const BoundSampler& bound) {
            const SamplerStatistics found = bound.sampler.statistics();
            return std::make_tuple(found.minibatches, found.rows, found.edges, found.scratch_bytes);
          },
          "Return minibatches, rows and edges drawn, and bytes kept for the next ones by threads that are idle.")
      .def("release", [](BoundSampler& bound) { bound.sampler.release(); }, "Give back what idle threads keep.");
  m.def("seed_order", seed_order_array, "n"_a, "seed"_a, "epoch"_a,
        "Return 0 .. n - 1 in the order of one epoch: uint32 [n].");
  bind_minibatch(m);
}

}  // namespace outcrop::bindings
