// Making a plan: records, and the distribution of rows to the log.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/bindings.hpp"
#include "error.hpp"
#include "loader/extent_file.hpp"
#include "loader/minibatch_record.hpp"
#include "loader/row_packer.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace outcrop::bindings {
namespace {

using ReleaseLock = nb::call_guard<nb::gil_scoped_release>;
template <class T>
using Vector = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using OutputKeys = nb::ndarray<uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using NumpyBytes = nb::ndarray<nb::numpy, uint8_t, nb::ndim<1>>;

template <class T>
std::span<const T> as_span(const Vector<T>& array) {
  return {array.data(), array.size()};
}

// ---- records

NumpyBytes record_of(const SampledMinibatch& minibatch, const std::vector<StreamRecipe>& recipes) {
  auto* bytes = new std::vector<std::byte>;
  nb::capsule owner(bytes, [](void* p) noexcept { delete static_cast<std::vector<std::byte>*>(p); });
  {
    nb::gil_scoped_release release;
    *bytes = write_record(minibatch, recipes);
  }
  return NumpyBytes(reinterpret_cast<uint8_t*>(bytes->data()), {bytes->size()}, owner);
}

std::span<const std::byte> record_bytes(const Vector<uint8_t>& record) {
  if (reinterpret_cast<uintptr_t>(record.data()) % 8 != 0)
    throw InvalidArgument("record: expected memory aligned to 8 bytes");
  return std::as_bytes(as_span(record));
}

SampledMinibatch minibatch_of(const Vector<uint8_t>& record, const std::string& where) {
  return MinibatchView::parse(record_bytes(record), where).copied();
}

void check_record(const Vector<uint8_t>& record, const std::string& where, std::vector<uint64_t> num_nodes,
                  uint32_t num_edge_types, const std::vector<std::tuple<uint64_t, uint64_t, uint64_t>>& streams) {
  RecordBounds bounds{std::move(num_nodes), num_edge_types, {}};
  for (const auto& [num_slots, row_bytes, log_bytes] : streams)
    bounds.streams.push_back({num_slots, row_bytes, log_bytes});
  MinibatchView::parse(record_bytes(record), where).check(bounds, where);
}

void bind_records(nb::module_& m) {
  m.def("write_record", &record_of, "minibatch"_a, "recipes"_a,
        "uint8 [n * 4096]: a minibatch and its recipes as docs/formats/plan.md has them. recipes: list, may be empty.");
  m.def("read_record", &minibatch_of, "record"_a.noconvert(), "where"_a, ReleaseLock(),
        "The minibatch of a record (uint8, 8-byte aligned), copied. `where` names it in errors. Raises CorruptFile.");
  m.def("check_record", &check_record, "record"_a.noconvert(), "where"_a, "num_nodes"_a, "num_edge_types"_a,
        "streams"_a, ReleaseLock(),
        "Raise CorruptFile unless all numbers of a record stay within their bounds.\n\n"
        "num_nodes: by node type. streams: (slots, bytes of a row, bytes of the log) each.");
}

// ---- pack

// C++ calls these without the interpreter lock, in the thread that called pack_rows.
template <class... Arguments>
std::function<void(Arguments...)> python_callback(const nb::object& callback) {
  if (callback.is_none()) return {};
  return [&callback](Arguments... arguments) {
    nb::gil_scoped_acquire acquire;
    callback(arguments...);
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
  };
}

std::vector<PackStream> streams_of(std::span<const uint32_t> all, std::span<const int64_t> begin,
                                   std::span<const int64_t> offset) {
  if (begin.size() != offset.size() + 1 || !std::is_sorted(begin.begin(), begin.end()) || begin.front() < 0 ||
      uint64_t(begin.back()) > all.size() || std::any_of(offset.begin(), offset.end(), [](int64_t o) { return o < 0; }))
    throw InvalidArgument("pack: begins must ascend within the keys, one more of them than of offsets");
  std::vector<PackStream> streams;
  for (size_t s = 0; s < offset.size(); ++s)
    streams.push_back({all.subspan(size_t(begin[s]), size_t(begin[s + 1] - begin[s])), uint64_t(offset[s])});
  return streams;
}

PackUsage pack(const BlockFile& source, uint64_t row_bytes, uint64_t num_rows, const Vector<uint32_t>& keys,
               const Vector<int64_t>& begins, const Vector<int64_t>& offsets, ExtentFile& target, uint64_t memory_bytes,
               uint64_t checkpoint_bytes, uint64_t first_key, const nb::object& progress, const nb::object& checkpoint,
               const std::optional<Vector<uint32_t>>& source_keys, uint64_t source_offset) {
  const auto streams = streams_of(as_span(keys), as_span(begins), as_span(offsets));
  RowSource rows{source, row_bytes, num_rows, source_offset, {}};
  if (row_bytes == 0 || (source_keys && source_keys->size() != num_rows))
    throw InvalidArgument("pack: expected a key for each of the " + std::to_string(num_rows) + " rows of the source");
  if (source_keys) rows.keys = as_span(*source_keys);
  const auto report = python_callback<uint64_t>(progress);
  const auto note = python_callback<uint64_t>(checkpoint);
  nb::gil_scoped_release release;
  return pack_rows(rows, streams, target, {memory_bytes, checkpoint_bytes}, first_key, report, note);
}

uint64_t count_union(const Vector<uint32_t>& keys, const Vector<int64_t>& begins,
                     const std::optional<OutputKeys>& out) {
  const std::vector<int64_t> nowhere(std::max<size_t>(1, begins.size()) - 1);
  const auto streams = streams_of(as_span(keys), as_span(begins), nowhere);
  nb::gil_scoped_release release;
  if (!out) return union_of_keys(streams, {});
  if (union_of_keys(streams, {}) != out->size())
    throw InvalidArgument("union_of_keys: expected room for each key once");
  return union_of_keys(streams, {out->data(), out->size()});
}

void bind_extent_file(nb::module_& m) {
  nb::class_<ExtentFile>(m, "ExtentFile",
                         "A block file of known size whose blocks are written in any order; without a header at first.")
      .def(nb::init<std::string, uint64_t, bool>(), "path"_a, "payload_bytes"_a, "resume"_a, ReleaseLock(),
           "Reserves its whole size on disk. resume: keep what an earlier process wrote. Raises StorageFailure.")
      .def_prop_ro("payload_bytes", &ExtentFile::payload_bytes)
      .def("sync", &ExtentFile::sync, ReleaseLock(), "Make durable what was written.")
      .def("table_crc", &ExtentFile::table_crc, ReleaseLock(),
           "The checksum of the whole table, when all blocks are written.");
}

void bind_pack_rows(nb::module_& m) {
  nb::class_<PackUsage>(m, "PackUsage", "What packing cost.")
      .def_ro("rows", &PackUsage::rows, "Copied.")
      .def_ro("reads", &PackUsage::reads)
      .def_ro("read_bytes", &PackUsage::read_bytes)
      .def_ro("runs", &PackUsage::runs, "Writes to the device.")
      .def_ro("written_bytes", &PackUsage::written_bytes);
  m.def("least_pack_memory", &least_pack_memory, "num_streams"_a, "row_bytes"_a,
        "Bytes without which so many streams cannot be packed at once.");
  m.def(
      "pack_rows", &pack, "source"_a, "row_bytes"_a, "num_rows"_a, "keys"_a.noconvert(), "begins"_a.noconvert(),
      "offsets"_a.noconvert(), "target"_a, nb::kw_only(), "memory_bytes"_a, "checkpoint_bytes"_a = 4ll << 30,
      "first_key"_a = 0, "progress"_a = nb::none(), "checkpoint"_a = nb::none(), "source_keys"_a = nb::none(),
      "source_offset"_a = 0,
      nb::sig("def pack_rows(source: BlockFile, row_bytes: int, num_rows: int, keys: "
              "numpy.typing.NDArray[numpy.uint32], begins: numpy.typing.NDArray[numpy.int64], offsets: "
              "numpy.typing.NDArray[numpy.int64], target: ExtentFile, *, memory_bytes: int, checkpoint_bytes: int = "
              "4294967296, first_key: int = 0, progress: collections.abc.Callable[[int], typing.Any] | None = None, "
              "checkpoint: collections.abc.Callable[[int], typing.Any] | None = None, source_keys: "
              "numpy.typing.NDArray[numpy.uint32] | None = None, source_offset: int = 0) -> PackUsage"),
      "Distribute rows of a block file to streams in one pass in file order; core/loader/row_packer.hpp.\n\n"
      "keys: uint32, of all streams one after the other; stream s wants keys[begins[s]:begins[s + 1]], ascending.\n"
      "begins: int64 [n + 1]. offsets: int64 [n], where each stream's rows go in the target's payload.\n"
      "progress(rows), a few times a second; checkpoint(key): rows of smaller keys are durable. What they raise ends "
      "it.\n"
      "first_key: the last checkpoint's, 0 at first. source_keys: uint32 [num_rows], ascending, the key of each row;\n"
      "None: its number. Raises InvalidArgument, ResourceExhausted, CorruptFile, StorageFailure.");
  m.def("union_of_keys", &count_union, "keys"_a.noconvert(), "begins"_a.noconvert(), "out"_a.noconvert().none(),
        "Count the different keys of all streams together; write them to `out` (uint32, of that size), ascending.");
}

}  // namespace

void bind_pack(nb::module_& m) {
  bind_records(m);
  bind_extent_file(m);
  bind_pack_rows(m);
}

}  // namespace outcrop::bindings
