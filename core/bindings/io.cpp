#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>
#include <span>

#include "bindings/bindings.hpp"
#include "error.hpp"
#include "io/block_file.hpp"
#include "io/block_reader.hpp"
#include "io/buffer_arena.hpp"
#include "io/checksum.hpp"
#include "io/device_probe.hpp"
#include "io/file_scan.hpp"
#include "io/range_reader.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace outcrop::bindings {
namespace {

using ReleaseLock = nb::call_guard<nb::gil_scoped_release>;
using InputBytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using OutputBytes = nb::ndarray<uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using InputInt64 = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <class T>
nb::ndarray<nb::numpy, T, nb::ndim<1>> to_numpy(std::unique_ptr<std::vector<T>> values) {
  auto* vector = values.release();
  nb::capsule owner(vector, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return nb::ndarray<nb::numpy, T, nb::ndim<1>>(vector->data(), {vector->size()}, owner);
}

std::span<const std::byte> as_bytes(const nb::bytes& bytes) {
  return {static_cast<const std::byte*>(bytes.data()), bytes.size()};
}

template <class Array>
auto as_span(const Array& array) {
  return std::span(array.data(), array.size());
}

// ---- checksums

// Any object with a contiguous buffer: bytes, memoryview, mmap, NumPy arrays of any dtype.
class BufferView {
 public:
  explicit BufferView(nb::handle object) {
    if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_SIMPLE) != 0) throw nb::python_error();
  }
  ~BufferView() { PyBuffer_Release(&view_); }
  BufferView(const BufferView&) = delete;
  BufferView& operator=(const BufferView&) = delete;
  const void* data() const { return view_.buf; }
  size_t size() const { return static_cast<size_t>(view_.len); }

 private:
  Py_buffer view_;
};

uint32_t crc32c_of(nb::handle data, uint32_t crc) {
  const BufferView view(data);
  nb::gil_scoped_release release;
  return crc32c(crc, view.data(), view.size());
}

auto block_checksums_of(InputBytes blocks, uint64_t first_block) {
  if (!is_block_multiple(blocks.size()))
    throw InvalidArgument("block_checksums: " + std::to_string(blocks.size()) + " bytes are no whole number of blocks");
  auto sums = std::make_unique<std::vector<uint32_t>>(blocks.size() / kBlockBytes);
  {
    nb::gil_scoped_release release;
    block_checksums(reinterpret_cast<const std::byte*>(blocks.data()), sums->size(), first_block, sums->data());
  }
  return to_numpy(std::move(sums));
}

void bind_checksums(nb::module_& m) {
  m.def("crc32c", crc32c_of, "data"_a, "crc"_a = 0,
        nb::sig(
            "def crc32c(data: bytes | bytearray | memoryview | numpy.typing.NDArray[typing.Any], crc: int = 0) -> int"),
        "The CRC32C of a bytes-like object, continued from `crc`.");
  m.def("block_checksums", block_checksums_of, "blocks"_a.noconvert(), "first_block"_a,
        "uint8 [n * 4096] -> uint32 [n]: the checksum of each block, over its number in the file and its bytes.\n\n"
        "Payload blocks are counted from 1. Raises InvalidArgument when the size is no multiple of 4096.");
}

// ---- readers and arenas

std::shared_ptr<BlockReader> open_reader(const std::string& kind, uint32_t queue_depth, uint32_t num_threads,
                                         bool direct) {
  return BlockReader::open({parse_reader_kind(kind), queue_depth, num_threads, direct});
}

void bind_reader(nb::module_& m) {
  nb::class_<ReaderStatistics>(m, "ReaderStatistics", "Counters of a BlockReader since it was opened.")
      .def_ro("reads", &ReaderStatistics::reads, "Completed requests.")
      .def_ro("bytes", &ReaderStatistics::bytes, "Bytes of the requests that succeeded.")
      .def_ro("errors", &ReaderStatistics::errors, "Requests that failed.")
      .def_ro("short_reads", &ReaderStatistics::short_reads, "Answers shorter than asked; the rest was read again.")
      .def_ro("resubmits", &ReaderStatistics::resubmits,
              "Answers after which a request was given to the device again.");
  nb::class_<BlockReader>(m, "BlockReader",
                          "Reads whole blocks, many in flight, by io_uring, a thread pool or from memory.")
      .def(
          nb::new_(&open_reader), "kind"_a = "auto", "queue_depth"_a = 64, "num_threads"_a = 8, "direct"_a = true,
          ReleaseLock(),
          "kind: 'auto' (what OUTCROP_READER names, else io_uring where it works, else pread), 'io_uring', 'pread' or\n"
          "'memory'. queue_depth: reads in flight per queue. num_threads: of the pread pool. direct: by O_DIRECT.\n"
          "Raises InvalidArgument, or StorageFailure when the asked kind cannot be had here. Not for use across a "
          "fork.")
      .def_prop_ro("kind", [](const BlockReader& reader) { return std::string(to_string(reader.kind())); })
      .def_prop_ro("reason", &BlockReader::reason, "Why this kind, in words.")
      .def_prop_ro("notes", &BlockReader::notes, "What was asked for and could not be had, such as O_DIRECT of a file.")
      .def_prop_ro("queue_depth", [](const BlockReader& reader) { return reader.options().queue_depth; })
      .def("statistics", &BlockReader::statistics);
  nb::class_<BufferArena>(m, "BufferArena", "One aligned region of memory, lent out to reads in flight.")
      .def(nb::init<size_t>(), "capacity_bytes"_a)
      .def_prop_ro("capacity", &BufferArena::capacity, "Bytes; whole blocks.")
      .def_prop_ro("in_use", &BufferArena::in_use, "Bytes lent out now.")
      .def_prop_ro("peak", &BufferArena::peak, "The most bytes that were lent out at one time.");
}

// ---- block files

// Calls `callback(bytes_done)` once per `every` bytes and at the end, with the interpreter lock; lets Ctrl-C through.
ScanProgress python_progress(const nb::object& callback, uint64_t every, uint64_t payload_bytes) {
  if (callback.is_none()) return {};
  return [&callback, every, payload_bytes, next = every](uint64_t bytes_done) mutable {
    if (bytes_done < next && bytes_done < payload_bytes) return;
    next = bytes_done + every;
    nb::gil_scoped_acquire acquire;
    callback(bytes_done);
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
  };
}

void verify_file(const BlockFile& file, BufferArena& arena, const nb::object& progress, uint64_t progress_bytes) {
  const auto report = python_progress(progress, progress_bytes, file.payload_bytes());
  nb::gil_scoped_release release;
  verify_all(file, arena, report);
}

auto bad_blocks_of(const BlockFile& file, BufferArena& arena, const nb::object& progress, uint64_t progress_bytes) {
  const auto report = python_progress(progress, progress_bytes, file.payload_bytes());
  auto blocks = std::make_unique<std::vector<int64_t>>();
  {
    nb::gil_scoped_release release;
    const auto bad = bad_blocks(file, arena, report);
    blocks->assign(bad.begin(), bad.end());
  }
  return to_numpy(std::move(blocks));
}

std::shared_ptr<BlockFile> open_file(std::shared_ptr<BlockReader> reader, const std::string& path,
                                     const std::string& kind, const nb::bytes& file_id) {
  if (file_id.size() != 0 && file_id.size() != std::tuple_size_v<FileId>)
    throw InvalidArgument("BlockFile: file_id must have 16 bytes or none, got " + std::to_string(file_id.size()));
  const auto id = as_bytes(file_id);
  nb::gil_scoped_release release;
  return BlockFile::open(std::move(reader), path, kind, id);
}

ReadUsage read_ranges_of(const BlockFile& file, InputInt64 offsets, InputInt64 lengths, OutputBytes out,
                         uint64_t gap_bytes, BufferArena& arena, const StopWords& stop) {
  return read_ranges(file, as_span(offsets), as_span(lengths), std::as_writable_bytes(as_span(out)), gap_bytes, arena,
                     stop_of(stop));
}

ReadUsage read_ranges_apart_of(const BlockFile& file, InputInt64 offsets, const std::vector<OutputBytes>& outs,
                               uint64_t gap_bytes, BufferArena& arena, const StopWords& stop) {
  std::vector<std::span<std::byte>> places;
  for (const OutputBytes& out : outs) places.push_back(std::as_writable_bytes(as_span(out)));
  return read_ranges_apart(file, as_span(offsets), places, gap_bytes, arena, stop_of(stop));
}

void bind_block_file(nb::module_& m) {
  nb::class_<ReadUsage>(m, "ReadUsage", "What a call read.")
      .def_ro("reads", &ReadUsage::reads, "Reads given to the device.")
      .def_ro("bytes", &ReadUsage::bytes, "Bytes read from it.")
      .def_ro("pages", &ReadUsage::pages, "Different 4-KiB blocks that the ranges needed; the rest bridged gaps.");
  nb::class_<BlockFile>(m, "BlockFile", "A block file opened for reading (docs/formats/block_file.md).")
      .def(nb::new_(&open_file), "reader"_a, "path"_a, "kind"_a = "", "file_id"_a = nb::bytes("", 0),
           "Reads and checks header and checksum table. kind '' and file_id b'' accept any.\n\n"
           "Raises CorruptFile, UnsupportedFormat, StorageFailure, InvalidArgument.")
      .def_prop_ro("payload_bytes", &BlockFile::payload_bytes)
      .def_prop_ro("num_blocks", &BlockFile::num_data_blocks, "Data blocks: ceil(payload_bytes / 4096).")
      .def_prop_ro("kind", &BlockFile::kind)
      .def_prop_ro("path", &BlockFile::path)
      .def_prop_ro("file_id",
                   [](const BlockFile& file) { return nb::bytes(file.file_id().data(), file.file_id().size()); })
      .def_prop_ro("resident_bytes", &BlockFile::resident_bytes, "Memory held while open: the checksum table.")
      .def(
          "read_ranges", &read_ranges_of, "offsets"_a.noconvert(), "lengths"_a.noconvert(), "out"_a.noconvert(),
          "gap_bytes"_a, "arena"_a, "stop"_a.noconvert().none() = nb::none(), ReleaseLock(),
          "Copy payload bytes [offsets[i], offsets[i] + lengths[i]) to `out`, one behind the other in the order "
          "given.\n\n"
          "offsets, lengths: int64 [n], in bytes; they may repeat and overlap. out: uint8 [sum(lengths)], written.\n"
          "Reads are merged across gaps of up to gap_bytes; every block read is checked. Where other calls hold all of "
          "the arena, this one waits for them.\n"
          "Raises InvalidArgument before any read, CorruptFile, StorageFailure, DeadlineExceeded, Cancelled.")
      .def(
          "read_ranges_apart", &read_ranges_apart_of, "offsets"_a.noconvert(), "outs"_a, "gap_bytes"_a, "arena"_a,
          "stop"_a.noconvert().none() = nb::none(), ReleaseLock(),
          "As `read_ranges`, with an array for each range: payload bytes [offsets[i], offsets[i] + outs[i].size) go to "
          "`outs[i]`, uint8, written.")
      .def("verify_all", &verify_file, "arena"_a, "progress"_a = nb::none(), "progress_bytes"_a = 64 << 20,
           nb::sig(
               "def verify_all(self, arena: BufferArena, progress: collections.abc.Callable[[int], typing.Any] | None "
               "= None, "
               "progress_bytes: int = 67108864) -> None"),
           "Check every block; raises CorruptFile at the first bad one. `progress(bytes_done)` is called per "
           "progress_bytes.")
      .def("bad_blocks", &bad_blocks_of, "arena"_a, "progress"_a = nb::none(), "progress_bytes"_a = 64 << 20,
           nb::sig(
               "def bad_blocks(self, arena: BufferArena, progress: collections.abc.Callable[[int], typing.Any] | None "
               "= None, "
               "progress_bytes: int = 67108864) -> numpy.typing.NDArray[numpy.int64]"),
           "int64 [num_bad]: the numbers of all blocks that disagree with their checksums, in order; the first data "
           "block is 1.");
}

// ---- the device

DeviceProbe probe(const std::string& path, double seconds, bool direct, const std::string& kind, uint32_t queue_depth) {
  return probe_device(path, seconds, {.kind = parse_reader_kind(kind), .queue_depth = queue_depth, .direct = direct});
}

void bind_device_probe(nb::module_& m) {
  nb::class_<DeviceProbe>(m, "DeviceProbe", "How fast a device answered.")
      .def_prop_ro("reader", [](const DeviceProbe& found) { return std::string(to_string(found.reader)); })
      .def_ro("reason", &DeviceProbe::reason, "Why this reader, in words.")
      .def_ro("notes", &DeviceProbe::notes, "What was asked for and could not be had, such as O_DIRECT.")
      .def_ro("queue_depth", &DeviceProbe::queue_depth)
      .def_ro("file_bytes", &DeviceProbe::file_bytes)
      .def_ro("iops_depth_1", &DeviceProbe::iops_depth_1, "Random 4-KiB reads per second, one at a time.")
      .def_ro("iops", &DeviceProbe::iops, "Random 4-KiB reads per second, queue_depth at a time.")
      .def_ro("iops_16k", &DeviceProbe::iops_16k, "Random 16-KiB reads per second, queue_depth at a time.")
      .def_ro("iops_64k", &DeviceProbe::iops_64k, "Random 64-KiB reads per second, queue_depth at a time.")
      .def_ro("sequential_bytes_per_s", &DeviceProbe::sequential_bytes_per_s, "By reads of 1 MiB.")
      .def_prop_ro("merge_gap_bytes", &DeviceProbe::merge_gap_bytes, "Bandwidth / IOPS: what one more read costs.");
  m.def("probe_device", &probe, "path"_a, "seconds"_a = 2.0, "direct"_a = true, "kind"_a = "auto", "queue_depth"_a = 64,
        ReleaseLock(),
        "Measure the device under an existing file of at least 64 KiB (best 1 GiB and more, not sparse) for about "
        "`seconds`.\n\n"
        "Reads only. Raises InvalidArgument, StorageFailure.");
}

}  // namespace

void bind_io(nb::module_& m) {
  bind_checksums(m);
  bind_reader(m);
  bind_block_file(m);
  bind_device_probe(m);
}

}  // namespace outcrop::bindings
