// Rows through the tiers: the victim buffer, and all tiers behind one read.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>

#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "bindings/bindings.hpp"
#include "error.hpp"
#include "tiers/tiered_reader.hpp"
#include "tiers/victim_buffer.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace outcrop::bindings {
namespace {

using ReleaseLock = nb::call_guard<nb::gil_scoped_release>;
using Keys = nb::ndarray<const uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Scores = nb::ndarray<const uint16_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using OutputBytes = nb::ndarray<uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using NumpyKeys = nb::ndarray<nb::numpy, uint32_t, nb::ndim<1>>;
using NumpyRows = nb::ndarray<nb::numpy, uint8_t, nb::ndim<2>>;
using InputRows = nb::ndarray<const uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

template <class Array>
auto as_span(const Array& array) {
  return std::span(array.data(), array.size());
}

// ---- the victim buffer

std::unique_ptr<VictimBuffer> make_victim_buffer(uint64_t row_bytes, uint64_t memory_bytes, uint64_t disk_bytes,
                                                 const std::string& folder, uint32_t extent_bytes) {
  VictimBufferOptions options;
  options.row_bytes = row_bytes;
  options.memory_bytes = memory_bytes;
  options.disk_bytes = disk_bytes;
  options.folder = folder;
  options.extent_bytes = extent_bytes;
  return std::make_unique<VictimBuffer>(options);
}

uint64_t put_rows(VictimBuffer& buffer, uint32_t request, Keys keys, InputRows rows) {
  if (rows.shape(0) != keys.size() || rows.shape(1) != buffer.row_bytes())
    throw InvalidArgument("put: rows are " + std::to_string(rows.shape(0)) + " x " + std::to_string(rows.shape(1)) +
                          " bytes, expected " + std::to_string(keys.size()) + " x " +
                          std::to_string(buffer.row_bytes()));
  const auto* data = reinterpret_cast<const std::byte*>(rows.data());
  uint64_t kept = 0;
  while (kept < keys.size() && buffer.put(request, keys.data()[kept], data + kept * buffer.row_bytes())) ++kept;
  return kept;
}

struct Inbox {
  std::vector<uint32_t> keys;
  std::vector<std::byte> rows;
};

std::tuple<NumpyKeys, NumpyRows> take_rows(VictimBuffer& buffer, uint32_t request) {
  auto inbox = std::make_unique<Inbox>();
  {
    nb::gil_scoped_release release;
    buffer.take(request, [&](std::span<const uint32_t> keys, const std::byte* rows) {
      inbox->keys.insert(inbox->keys.end(), keys.begin(), keys.end());
      inbox->rows.insert(inbox->rows.end(), rows, rows + keys.size() * buffer.row_bytes());
    });
  }
  Inbox* taken = inbox.release();
  nb::capsule owner(taken, [](void* p) noexcept { delete static_cast<Inbox*>(p); });
  return {NumpyKeys(taken->keys.data(), {taken->keys.size()}, owner),
          NumpyRows(reinterpret_cast<uint8_t*>(taken->rows.data()), {taken->keys.size(), buffer.row_bytes()}, owner)};
}

void bind_victim_statistics(nb::module_& m) {
  nb::class_<VictimStatistics>(m, "VictimStatistics", "Counters of a VictimBuffer.")
      .def_ro("rows_put", &VictimStatistics::rows_put)
      .def_ro("rows_refused", &VictimStatistics::rows_refused, "For which the budgets had no room.")
      .def_ro("rows_taken", &VictimStatistics::rows_taken)
      .def_ro("rows_from_disk", &VictimStatistics::rows_from_disk, "Of those taken, the ones that were written out.")
      .def_ro("rows_dropped", &VictimStatistics::rows_dropped, "Of requests that were passed over.")
      .def_ro("rows_waiting", &VictimStatistics::rows_waiting, "Put and not yet taken.")
      .def_ro("bytes_written", &VictimStatistics::bytes_written)
      .def_ro("bytes_read", &VictimStatistics::bytes_read)
      .def_ro("writes", &VictimStatistics::writes)
      .def_ro("reads", &VictimStatistics::reads)
      .def_ro("memory_bytes", &VictimStatistics::memory_bytes, "In use now.")
      .def_ro("disk_bytes", &VictimStatistics::disk_bytes, "In use now.")
      .def_ro("peak_memory_bytes", &VictimStatistics::peak_memory_bytes)
      .def_ro("peak_disk_bytes", &VictimStatistics::peak_disk_bytes)
      .def_ro("direct", &VictimStatistics::direct, "Whether the scratch file goes around the page cache.")
      .def_ro("put_waits", &VictimStatistics::put_waits, "Times that a put waited for a write.")
      .def_ro("take_waits", &VictimStatistics::take_waits, "Times that a take waited for a read.")
      .def_ro("put_wait_us", &VictimStatistics::put_wait_us)
      .def_ro("take_wait_us", &VictimStatistics::take_wait_us);
}

void bind_victim_buffer(nb::module_& m) {
  nb::class_<VictimBuffer>(m, "VictimBuffer", "Rows kept for coming requests, in memory and in a scratch file.")
      .def(nb::new_(&make_victim_buffer), "row_bytes"_a, "memory_bytes"_a, "disk_bytes"_a, "folder"_a = "",
           "extent_bytes"_a = 256 * 1024, ReleaseLock(),
           "memory_bytes: at least four extents; disk_bytes: of an unnamed file in `folder`, 0 for none.\n\n"
           "Raises InvalidArgument, ResourceExhausted when disk or memory refuse, StorageFailure.")
      .def("put", &put_rows, "request"_a, "keys"_a.noconvert(), "rows"_a.noconvert(), ReleaseLock(),
           "Keep rows for `request`; returns how many of the first ones found room.\n\n"
           "keys: uint32 [n]. rows: uint8 [n, row_bytes]. Raises InvalidArgument when its inbox was taken already.")
      .def("prefetch", &VictimBuffer::prefetch, "request"_a, ReleaseLock(), "Begin to bring an inbox back to memory.")
      .def("take", &take_rows, "request"_a,
           "Return the inbox's keys, uint32 [n], and rows, uint8 [n, row_bytes], in no stated order; it is gone then.\n"
           "\nInboxes of earlier requests are dropped. Raises InvalidArgument, CorruptFile, StorageFailure.")
      .def("rows_of", &VictimBuffer::rows_of, "request"_a, "Rows that wait in an inbox.")
      .def("statistics", &VictimBuffer::statistics, ReleaseLock())
      .def_prop_ro("row_bytes", &VictimBuffer::row_bytes)
      .def_prop_ro("extent_bytes", &VictimBuffer::extent_bytes)
      .def_static("extent_bytes_for", &VictimBuffer::extent_bytes_for, "row_bytes"_a, "extent_bytes"_a = 256 * 1024,
                  "What an extent will be for rows of this width: at least 16 of them.");
}

// ---- all tiers

std::unique_ptr<TieredReader> make_tiered_reader(std::shared_ptr<BlockFile> file, BufferArena& arena, uint64_t num_rows,
                                                 uint64_t row_bytes, uint64_t cache_rows, Keys hot_keys,
                                                 uint64_t victim_memory_bytes, uint64_t victim_disk_bytes,
                                                 const std::string& victim_folder, uint32_t longest_group,
                                                 uint64_t gap_bytes, double read_us, double byte_us) {
  TieredReaderOptions options;
  options.row_bytes = row_bytes;
  options.cache_rows = cache_rows;
  options.hot_keys.assign(hot_keys.data(), hot_keys.data() + hot_keys.size());
  options.victim.memory_bytes = victim_memory_bytes;
  options.victim.disk_bytes = victim_disk_bytes;
  options.victim.folder = victim_folder;
  options.longest_group = longest_group;
  options.scan.gap_bytes = gap_bytes;
  options.device = {read_us, byte_us};
  nb::gil_scoped_release release;
  return std::make_unique<TieredReader>(std::move(file), arena, num_rows, std::move(options));
}

uint64_t tiers_memory_bytes(uint64_t num_rows, uint64_t row_bytes, uint64_t cache_rows, uint64_t num_hot) {
  TieredReaderOptions options;
  options.row_bytes = row_bytes;
  options.cache_rows = cache_rows;
  return TieredReader::memory_bytes(num_rows, options) + HotSet::memory_bytes(num_rows, num_hot, row_bytes);
}

void bind_tier_statistics(nb::module_& m) {
  nb::class_<TierStatistics>(m, "TierStatistics", "Rows and bytes per tier since a TieredReader was made.")
      .def_ro("requests", &TierStatistics::requests)
      .def_ro("rows", &TierStatistics::rows, "Asked for: the sum of the five below.")
      .def_ro("hot_rows", &TierStatistics::hot_rows, "From the hot set.")
      .def_ro("cache_rows", &TierStatistics::cache_rows, "From the cache.")
      .def_ro("victim_rows", &TierStatistics::victim_rows, "From the victim buffer, those read ahead among them.")
      .def_ro("master_rows", &TierStatistics::master_rows, "From the file, when they were asked for.")
      .def_ro("repeated_rows", &TierStatistics::repeated_rows, "Missed twice in one request, and copied.")
      .def_ro("ahead_rows", &TierStatistics::ahead_rows, "Read from the file for later requests.")
      .def_ro("sweeps", &TierStatistics::sweeps, "Times that something was read from the file.")
      .def_ro("grouped_requests", &TierStatistics::grouped_requests, "Served by the sweep of an earlier one.")
      .def_ro("master_reads", &TierStatistics::master_reads)
      .def_ro("master_bytes", &TierStatistics::master_bytes)
      .def_ro("master_pages", &TierStatistics::master_pages, "Different 4-KiB blocks wanted; the rest bridged gaps.")
      .def_ro("cache_inserts", &TierStatistics::cache_inserts)
      .def_ro("victim", &TierStatistics::victim);
}

void bind_tiered_reader(nb::module_& m) {
  nb::class_<TieredReader>(m, "TieredReader", "Rows of one file behind one read, whichever tier holds them.")
      .def(nb::new_(&make_tiered_reader), "file"_a, "arena"_a, "num_rows"_a, "row_bytes"_a, "cache_rows"_a,
           "hot_keys"_a.noconvert(), "victim_memory_bytes"_a, "victim_disk_bytes"_a, "victim_folder"_a,
           "longest_group"_a, "gap_bytes"_a, "read_us"_a, "byte_us"_a, nb::keep_alive<0, 2>(),
           "hot_keys: uint32, ascending. victim_memory_bytes 0: no victim buffer. read_us, byte_us: what the device\n"
           "charges for a small read and for a byte. Raises InvalidArgument, ResourceExhausted, CorruptFile,\n"
           "StorageFailure.")
      .def_static("memory_bytes", &tiers_memory_bytes, "num_rows"_a, "row_bytes"_a, "cache_rows"_a, "num_hot"_a,
                  "What a reader will hold, less the victim buffer's memory and announced keys.")
      .def(
          "set_scores", [](TieredReader& reader, Scores scores) { reader.set_scores(as_span(scores)); },
          "scores"_a.noconvert(), ReleaseLock(),
          "uint16 [num_rows]: of rows whose next use is unknown the higher score stays.")
      .def(
          "announce", [](TieredReader& reader, Keys keys) { return reader.announce(as_span(keys)); },
          "keys"_a.noconvert(), ReleaseLock(), "Say what the next request will ask for; returns its number, from 0.")
      .def(
          "read",
          [](TieredReader& reader, uint32_t request, OutputBytes out) {
            reader.read(request, std::as_writable_bytes(as_span(out)));
          },
          "request"_a, "out"_a.noconvert(), ReleaseLock(),
          "Fill out, uint8 [num_keys * row_bytes], with the rows of the oldest announced request, in its order.\n\n"
          "Raises InvalidArgument, CorruptFile, StorageFailure.")
      .def_prop_ro("window", &TieredReader::window, "Requests announced and not yet read.")
      .def_prop_ro("row_bytes", &TieredReader::row_bytes)
      .def("statistics", &TieredReader::statistics, ReleaseLock());
}

}  // namespace

void bind_tiers(nb::module_& m) {
  bind_victim_statistics(m);
  bind_victim_buffer(m);
  bind_tier_statistics(m);
  bind_tiered_reader(m);
}

}  // namespace outcrop::bindings
