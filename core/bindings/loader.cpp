// The slab of cached rows, the assembler of a stream and the pipeline that loads a plan's minibatches.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings/bindings.hpp"
#include "error.hpp"
#include "loader/pipeline.hpp"
#include "loader/planned_feed.hpp"
#include "tiers/assembler.hpp"
#include "tiers/row_copy.hpp"
#include "tiers/row_slab.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace outcrop::bindings {
namespace {

using ReleaseLock = nb::call_guard<nb::gil_scoped_release>;
using Slots = nb::ndarray<const uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using InputRows = nb::ndarray<const uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using OutputRows = nb::ndarray<uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using InputInt64 = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// ---- the slab

void check_rows(const RowSlab& slab, std::span<const uint32_t> slots, size_t n, size_t row_bytes) {
  if (n != slots.size() || row_bytes != slab.row_bytes())
    throw InvalidArgument("row slab: " + std::to_string(slots.size()) + " slots of " +
                          std::to_string(slab.row_bytes()) + " bytes, the array has " + std::to_string(n) +
                          " rows of " + std::to_string(row_bytes));
  for (const uint32_t slot : slots)
    if (slot >= slab.num_slots())
      throw InvalidArgument("row slab: slot " + std::to_string(slot) + " is not below " +
                            std::to_string(slab.num_slots()));
}

void store_rows(RowSlab& slab, Slots slots, InputRows rows) {
  check_rows(slab, {slots.data(), slots.size()}, rows.shape(0), rows.shape(1));
  for (size_t i = 0; i < slots.size(); ++i)
    std::memcpy(slab.row(slots.data()[i]), rows.data() + i * slab.row_bytes(), slab.row_bytes());
}

void fetch_rows(const RowSlab& slab, Slots slots, OutputRows rows) {
  check_rows(slab, {slots.data(), slots.size()}, rows.shape(0), rows.shape(1));
  for (size_t i = 0; i < slots.size(); ++i)
    std::memcpy(rows.data() + i * slab.row_bytes(), slab.row(slots.data()[i]), slab.row_bytes());
}

void bind_slab(nb::module_& m) {
  nb::class_<RowSlab>(m, "RowSlab",
                      "Cached rows of a feature table, by slot. Which row a slot holds is not known here.")
      .def(nb::init<uint64_t, uint64_t>(), "num_slots"_a, "row_bytes"_a,
           "Raises InvalidArgument, ResourceExhausted. Pages cost memory when they are first written.")
      .def_prop_ro("num_slots", &RowSlab::num_slots)
      .def_prop_ro("row_bytes", &RowSlab::row_bytes)
      .def_prop_ro("size_bytes", &RowSlab::size_bytes)
      .def("store", &store_rows, "slots"_a.noconvert(), "rows"_a.noconvert(), ReleaseLock(),
           "Put row i of `rows`, uint8 [n, row_bytes], into slot slots[i], uint32 [n]. Raises InvalidArgument.")
      .def("fetch", &fetch_rows, "slots"_a.noconvert(), "rows"_a.noconvert(), ReleaseLock(),
           "Fill row i of `rows`, uint8 [n, row_bytes], from slot slots[i], uint32 [n]. Raises InvalidArgument.");
}

// ---- the assembler

std::unique_ptr<Assembler> make_assembler(std::shared_ptr<RowSlab> slab, const std::string& codec, bool decode,
                                          size_t num_threads) {
  const RowFormat format = row_format(parse_row_codec(codec), slab->row_bytes());
  return std::make_unique<Assembler>(std::move(slab), AssemblerOptions{format, decode, num_threads, nullptr, 0});
}

void bind_assembler(nb::module_& m) {
  nb::class_<Assembler>(m, "Assembler", "Brings the rows of one stream together, minibatch after minibatch.")
      .def(nb::new_(&make_assembler), "slab"_a, "codec"_a, "decode"_a = false, "num_threads"_a = 1,
           "codec: raw, float16, bfloat16 or int8. decode: to float32. num_threads: of one minibatch's copies.\n"
           "Raises InvalidArgument.");
}

// ---- the pipeline

// The caller's arrays hold the minibatch, and with it the slot.
nb::capsule owner_of(const std::shared_ptr<LoadedMinibatch>& minibatch) {
  return nb::capsule(new std::shared_ptr<LoadedMinibatch>(minibatch),
                     [](void* p) noexcept { delete static_cast<std::shared_ptr<LoadedMinibatch>*>(p); });
}

// What Python gets from next(): the minibatch and how its rows are to be seen.
struct PlannedMinibatch {
  std::shared_ptr<LoadedMinibatch> loaded;
  std::shared_ptr<const std::vector<Assembler>> assemblers;

  nb::ndarray<nb::numpy, uint8_t, nb::ndim<1>> record() const {
    const auto bytes = loaded->record();
    auto* data = const_cast<std::byte*>(bytes.data());  // the slot is the caller's until it comes back
    return {reinterpret_cast<uint8_t*>(data), {bytes.size()}, owner_of(loaded)};
  }

  nb::object rows(size_t stream) const {
    if (stream >= loaded->num_streams())
      throw InvalidArgument("minibatch: no stream " + std::to_string(stream) + " among " +
                            std::to_string(loaded->num_streams()));
    const RowTensor& tensor = loaded->tensor(stream);
    const RowFormat& format = (*assemblers)[stream].format();
    const size_t n = loaded->num_rows(stream);
    if (tensor.decoded != nullptr)
      return nb::cast(nb::ndarray<nb::numpy, float, nb::ndim<2>>(tensor.decoded, {n, format.dim()}, owner_of(loaded)));
    return nb::cast(nb::ndarray<nb::numpy, uint8_t, nb::ndim<2>>(reinterpret_cast<uint8_t*>(tensor.coded),
                                                                 {n, format.row_bytes}, owner_of(loaded)));
  }
};

std::vector<uint64_t> by_stream(const PipelineCounters& counters, uint64_t StreamCounters::* field) {
  std::vector<uint64_t> values;
  for (const StreamCounters& stream : counters.streams) values.push_back(stream.*field);
  return values;
}

class PlannedPipeline {
 public:
  PlannedPipeline(std::shared_ptr<BlockReader> reader, PlannedFiles files, InputInt64 offsets, uint64_t passes,
                  const std::vector<Assembler*>& assemblers, std::vector<uint64_t> num_nodes, uint32_t num_edge_types,
                  std::vector<uint64_t> max_rows, size_t num_slots, uint64_t start) {
    RecordBounds bounds{std::move(num_nodes), num_edge_types, {}};
    auto copies = std::make_shared<std::vector<Assembler>>();
    for (const Assembler* assembler : assemblers) {
      copies->push_back(*assembler);
      bounds.streams.push_back({assembler->slab()->num_slots(), assembler->format().row_bytes, 0});
    }
    assemblers_ = copies;
    std::vector<int64_t> places(offsets.data(), offsets.data() + offsets.size());
    auto feed = std::make_unique<PlannedFeed>(std::move(files), std::move(places), passes, std::move(bounds));
    PipelineOptions options;
    options.num_slots = num_slots, options.start = start;
    options.max_record_bytes = feed->max_record_bytes(), options.max_rows = std::move(max_rows);
    buffer_bytes_ = Pipeline::buffer_bytes(*assemblers_, options);
    nb::gil_scoped_release release;
    pipeline_ = std::make_unique<Pipeline>(std::move(reader), std::move(feed), *assemblers_, options);
  }

  // A call waits in pieces, so that Ctrl-C and a request to stop are heard.
  std::optional<PlannedMinibatch> next(const StopWords& words) {
    const Stop stop = stop_of(words);
    while (true) {
      stop.check();
      Pipeline::Next next;
      {
        nb::gil_scoped_release release;
        next = pipeline_->next(words ? kStoppablePieceMs : kPieceMs);
      }
      if (next.minibatch) return PlannedMinibatch{std::move(next.minibatch), assemblers_};
      if (!next.late) return std::nullopt;
      if (PyErr_CheckSignals() != 0) throw nb::python_error();
    }
  }

  void close() { pipeline_->close(); }
  uint64_t buffer_bytes() const { return buffer_bytes_; }

  nb::dict counters() const {
    const PipelineCounters counters = pipeline_->counters();
    const RingCounters& ring = counters.ring;
    nb::dict out;
    out["minibatches"] = ring.minibatches;
    out["hit_rows"] = by_stream(counters, &StreamCounters::hit_rows);
    out["log_rows"] = by_stream(counters, &StreamCounters::log_rows);
    out["master_rows"] = by_stream(counters, &StreamCounters::master_rows);
    out["inserted_rows"] = by_stream(counters, &StreamCounters::inserted_rows);
    out["device_reads"] = counters.device_reads;
    out["device_bytes"] = counters.device_bytes;
    out["consumer_waits"] = ring.consumer_waits;
    out["consumer_ns"] = ring.consumer_ns;
    out["producer_waits"] = ring.producer_waits;
    out["producer_ns"] = ring.producer_ns;
    out["assembler_waits"] = ring.assembler_waits;
    out["assembler_ns"] = ring.assembler_ns;
    out["gather_ns"] = counters.gather_ns;
    out["finish_ns"] = counters.finish_ns;
    out["ready_sum"] = ring.ready_sum;
    out["num_ready"] = pipeline_->num_ready();
    return out;
  }

 private:
  static constexpr int64_t kPieceMs = 100, kStoppablePieceMs = 5;

  std::shared_ptr<const std::vector<Assembler>> assemblers_;
  std::unique_ptr<Pipeline> pipeline_;
  uint64_t buffer_bytes_ = 0;
};

std::unique_ptr<PlannedPipeline> make_pipeline(std::shared_ptr<BlockReader> reader, std::shared_ptr<BlockFile> records,
                                               InputInt64 offsets, const std::vector<std::shared_ptr<BlockFile>>& logs,
                                               const std::vector<Assembler*>& assemblers,
                                               const std::vector<uint64_t>& num_nodes, uint32_t num_edge_types,
                                               const std::vector<uint64_t>& max_rows, size_t num_slots, uint64_t passes,
                                               uint64_t start) {
  return std::make_unique<PlannedPipeline>(std::move(reader),
                                           PlannedFiles{std::move(records), {logs.begin(), logs.end()}}, offsets,
                                           passes, assemblers, num_nodes, num_edge_types, max_rows, num_slots, start);
}

void bind_pipeline(nb::module_& m) {
  nb::class_<PlannedMinibatch>(m, "PlannedMinibatch",
                               "A loaded minibatch. Its slot is used again when it and its arrays have gone.")
      .def_prop_ro(
          "position", [](const PlannedMinibatch& self) { return self.loaded->position(); },
          "Which minibatch of the sequence, counted from 0 and on through all passes.")
      .def("record", &PlannedMinibatch::record, "uint8 [record_bytes], a view of the slot (docs/formats/plan.md).")
      .def(
          "rows", &PlannedMinibatch::rows, "stream"_a,
          nb::sig("def rows(self, stream: int) -> numpy.typing.NDArray[typing.Any]"),
          "The rows of a stream, a view of the slot: uint8 [num_rows, row_bytes], or float32 [num_rows, dim] decoded.");
  nb::class_<PlannedPipeline>(m, "PlannedPipeline", "Loads a plan's minibatches ahead of the caller.")
      .def(nb::new_(&make_pipeline), "reader"_a, "records"_a, "offsets"_a.noconvert(), "logs"_a, "assemblers"_a,
           "num_nodes"_a, "num_edge_types"_a, "max_rows"_a, "num_slots"_a = 3, "passes"_a = 1, "start"_a = 0,
           "Starts to read at once. offsets: int64 [num_records + 1], where each record begins in `records`, and the\n"
           "end of the last. logs, assemblers, max_rows (of any minibatch): by stream. num_nodes: by node type.\n"
           "passes: how often the records are gone through. start: the position to begin with; slabs must hold what\n"
           "the cache held there. Raises InvalidArgument, CorruptFile, ResourceExhausted.")
      .def("next", &PlannedPipeline::next, "stop"_a.noconvert().none() = nb::none(),
           "Wait for the next minibatch; None behind the last one.\n\n"
           "Raises CorruptFile, StorageFailure, KeyboardInterrupt, ResourceExhausted when all slots hold minibatches\n"
           "that are still referenced, and DeadlineExceeded or Cancelled by `stop`: the next call then waits for the\n"
           "same minibatch.")
      .def("close", &PlannedPipeline::close, ReleaseLock(),
           "End the threads. Minibatches in use stay valid. Closing twice is allowed.")
      .def_prop_ro("buffer_bytes", &PlannedPipeline::buffer_bytes, "Of all slots and read buffers, without the slabs.")
      .def("counters", &PlannedPipeline::counters, nb::sig("def counters(self) -> dict[str, typing.Any]"),
           "What was done so far; times in nanoseconds.");
}

}  // namespace

void bind_loader(nb::module_& m) {
  bind_slab(m);
  bind_assembler(m);
  bind_pipeline(m);
}

}  // namespace outcrop::bindings
