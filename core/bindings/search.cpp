// The searcher, brute force over streamed rows, packing of posting lists and the choice of copies.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include <memory>
#include <string>

#include "bindings/bindings.hpp"
#include "error.hpp"
#include "search/copies.hpp"
#include "search/exact_scan.hpp"
#include "search/searcher.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace outcrop::bindings {

namespace {

template <class T>
using Vector = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Matrix = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <class T>
using Filled = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using FilledMatrix = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

void require(bool condition, const std::string& message) {
  if (!condition) throw InvalidArgument(message);
}

Dtype parse_dtype(const std::string& name) {
  if (name == "float32") return Dtype::float32;
  if (name == "float16") return Dtype::float16;
  if (name == "uint8") return Dtype::uint8;
  if (name == "int8") return Dtype::int8;
  throw InvalidArgument("dtype: expected float32, float16, uint8 or int8, found '" + name + "'");
}

Metric parse_metric(const std::string& name) {
  if (name == "l2") return Metric::l2;
  if (name == "ip") return Metric::inner_product;
  throw InvalidArgument("metric: expected l2 or ip, found '" + name + "'");
}

template <class T>
std::vector<T> copied(const Vector<T>& array) {
  return std::vector<T>(array.data(), array.data() + array.shape(0));
}

// Queries in the rows' integer type: uint8 [n, row_bytes], whatever that type is.
using TypedQueries = std::optional<Matrix<uint8_t>>;

const std::byte* typed_bytes(const TypedQueries& typed, size_t num_queries, size_t row_bytes) {
  if (!typed) return nullptr;
  require(typed->shape(0) == num_queries && typed->shape(1) == row_bytes,
          "typed: expected the queries' shape in bytes");
  return reinterpret_cast<const std::byte*>(typed->data());
}

std::unique_ptr<Searcher> make_searcher(const std::string& dtype, const std::string& metric, uint32_t dim,
                                        uint32_t code_bytes, uint8_t id_bytes, uint8_t row_bytes,
                                        const Vector<uint64_t>& list_offsets, const Vector<uint32_t>& first_list,
                                        const Vector<float>& radius, const Vector<float>& lower,
                                        const Vector<float>& step, float code_error,
                                        std::shared_ptr<BlockFile> postings, std::shared_ptr<BlockFile> vectors,
                                        size_t num_contexts, size_t buffer_bytes, size_t cache_bytes) {
  IndexView view{parse_dtype(dtype), parse_metric(metric), dim, {code_bytes, id_bytes, row_bytes}};
  if (lower.shape(0) > 0) view.sq8.emplace(copied(lower), copied(step));
  view.code_error = code_error;
  view.list_offsets = copied(list_offsets);
  view.first_list = copied(first_list);
  view.radius = copied(radius);
  view.postings = std::move(postings);
  view.vectors = std::move(vectors);
  nb::gil_scoped_release unlocked;
  return std::make_unique<Searcher>(std::move(view), num_contexts, buffer_bytes, cache_bytes);
}

SearchUsage search(Searcher& searcher, const Matrix<float>& queries, const TypedQueries& typed,
                   const Matrix<int32_t>& probes, const Matrix<float>& probe_distances,
                   const Vector<int32_t>& num_probes, const SearchOptions& options, FilledMatrix<int64_t> ids,
                   FilledMatrix<float> distances, Filled<float> latency_us, const StopWords& stop) {
  const size_t n = queries.shape(0);
  require(queries.shape(1) == searcher.index().dim, "queries: dimension differs from the index's");
  require(probes.shape(0) == n && probe_distances.shape(0) == n && probe_distances.shape(1) == probes.shape(1) &&
              num_probes.shape(0) == n,
          "probes, probe_distances and num_probes: expected one row per query");
  require(ids.shape(0) == n && ids.shape(1) == options.k && distances.shape(0) == n &&
              distances.shape(1) == options.k && latency_us.shape(0) == n,
          "ids, distances and latency_us: expected room for every query");
  SearchBatch batch{n,
                    probes.shape(1),
                    queries.data(),
                    typed_bytes(typed, n, searcher.index().row_bytes()),
                    probes.data(),
                    probe_distances.data(),
                    num_probes.data()};
  SearchResult result{ids.data(), distances.data(), latency_us.data()};
  nb::gil_scoped_release unlocked;
  return searcher.search(batch, options, result, stop_of(stop));
}

void bind_search_options(nb::module_& m) {
  nb::class_<SearchOptions>(m, "SearchOptions",
                            "How a batch is searched; core/search/search_plan.hpp tells each field.")
      .def(nb::init<>())
      .def_rw("k", &SearchOptions::k)
      .def_rw("rerank", &SearchOptions::rerank)
      .def_rw("first_wave", &SearchOptions::first_wave)
      .def_rw("next_wave", &SearchOptions::next_wave)
      .def_rw("patience", &SearchOptions::patience)
      .def_rw("gap_bytes", &SearchOptions::gap_bytes)
      .def_rw("max_read_bytes", &SearchOptions::max_read_bytes)
      .def_rw("group_size", &SearchOptions::group_size)
      .def_rw("groups_in_flight", &SearchOptions::groups_in_flight)
      .def_rw("num_threads", &SearchOptions::num_threads)
      .def_rw("read_cost_us", &SearchOptions::read_cost_us)
      .def_rw("byte_cost_us", &SearchOptions::byte_cost_us);
  nb::class_<SearchUsage>(m, "SearchUsage", "What a search cost, summed over its queries.")
      .def_ro("reads", &SearchUsage::reads)
      .def_ro("bytes", &SearchUsage::bytes)
      .def_ro("lists", &SearchUsage::lists)
      .def_ro("lists_read", &SearchUsage::lists_read)
      .def_ro("cache_hits", &SearchUsage::cache_hits)
      .def_ro("skipped", &SearchUsage::skipped)
      .def_ro("distances", &SearchUsage::distances)
      .def_ro("reranked", &SearchUsage::reranked)
      .def_ro("waves", &SearchUsage::waves)
      .def_ro("device_us", &SearchUsage::device_us);
}

void bind_searcher(nb::module_& m) {
  nb::class_<CacheStatistics>(m, "CacheStatistics")
      .def_ro("hits", &CacheStatistics::hits)
      .def_ro("misses", &CacheStatistics::misses)
      .def_ro("admitted", &CacheStatistics::admitted)
      .def_ro("refused", &CacheStatistics::refused)
      .def_ro("evicted", &CacheStatistics::evicted)
      .def_ro("bytes", &CacheStatistics::bytes)
      .def_ro("entries", &CacheStatistics::entries)
      .def_ro("capacity_bytes", &CacheStatistics::capacity_bytes);
  nb::class_<Searcher>(m, "Searcher", "Search over one open version. Any number of threads may call it.")
      .def(nb::new_(&make_searcher), nb::kw_only(), "dtype"_a, "metric"_a, "dim"_a, "code_bytes"_a, "id_bytes"_a,
           "row_bytes"_a, "list_offsets"_a.noconvert(), "first_list"_a.noconvert(), "radius"_a.noconvert(),
           "lower"_a.noconvert(), "step"_a.noconvert(), "code_error"_a, "postings"_a, "vectors"_a.none(),
           "num_contexts"_a, "buffer_bytes"_a, "cache_bytes"_a)
      .def("search", &search, "queries"_a.noconvert(), "typed"_a.noconvert().none(), "probes"_a.noconvert(),
           "probe_distances"_a.noconvert(), "num_probes"_a.noconvert(), "options"_a, "ids"_a.noconvert(),
           "distances"_a.noconvert(), "latency_us"_a.noconvert(), "stop"_a.noconvert().none() = nb::none(),
           "Fills ids int64 [n, k], distances float32 [n, k] and latency_us float32 [n].")
      .def("clear_cache", &Searcher::clear_cache)
      .def("cache_statistics", &Searcher::cache_statistics);
}

// ---- brute force

std::unique_ptr<ExactScan> make_exact_scan(const std::string& dtype, const std::string& metric,
                                           const Matrix<float>& queries, const TypedQueries& typed, size_t k) {
  Dtype type = parse_dtype(dtype);
  size_t dim = queries.shape(1), n = queries.shape(0);
  return std::make_unique<ExactScan>(type, parse_metric(metric), queries.data(),
                                     typed_bytes(typed, n, dim * item_bytes(type)), n, dim, k);
}

void bind_exact_scan(nb::module_& m) {
  nb::class_<ExactScan>(m, "ExactScan", "The nearest k of all rows pushed, for each query.")
      .def(nb::new_(&make_exact_scan), "dtype"_a, "metric"_a, "queries"_a.noconvert(), "typed"_a.noconvert().none(),
           "k"_a)
      .def(
          "push",
          [](ExactScan& scan, const Matrix<uint8_t>& rows, const Vector<int64_t>& ids, size_t num_threads,
             const StopWords& stop) {
            require(rows.shape(1) == scan.dim() * item_bytes(scan.dtype()), "rows: expected uint8 [n, row_bytes]");
            require(rows.shape(0) == ids.shape(0), "ids: expected one per row");
            nb::gil_scoped_release unlocked;
            scan.push(reinterpret_cast<const std::byte*>(rows.data()), ids.data(), rows.shape(0), num_threads,
                      stop_of(stop));
          },
          "rows"_a.noconvert(), "ids"_a.noconvert(), "num_threads"_a = 1, "stop"_a.noconvert().none() = nb::none(),
          "rows: the bytes of the vectors, uint8 [n, row_bytes]; ids: int64 [n].")
      .def(
          "result",
          [](const ExactScan& scan, FilledMatrix<int64_t> ids, FilledMatrix<float> distances) {
            require(ids.shape(0) == scan.num_queries() && ids.shape(1) == scan.k() &&
                        distances.shape(0) == scan.num_queries() && distances.shape(1) == scan.k(),
                    "ids and distances: expected [num_queries, k]");
            nb::gil_scoped_release unlocked;
            scan.result(ids.data(), distances.data());
          },
          "ids"_a.noconvert(), "distances"_a.noconvert());
}

// ---- what a build needs

ListShape shape_of(uint32_t code_bytes, uint8_t id_bytes, uint8_t row_bytes) {
  require(id_bytes == 4 || id_bytes == 8, "id_bytes: expected 4 or 8");
  require(row_bytes == 0 || row_bytes == 4 || row_bytes == 8, "row_bytes: expected 0, 4 or 8");
  return {code_bytes, id_bytes, row_bytes};
}

nb::ndarray<nb::numpy, uint64_t, nb::ndim<1>> list_lengths(uint32_t code_bytes, uint8_t id_bytes, uint8_t row_bytes,
                                                           const Vector<uint32_t>& num_entries,
                                                           const Vector<uint32_t>& num_primary) {
  ListShape shape = shape_of(code_bytes, id_bytes, row_bytes);
  require(num_entries.shape(0) == num_primary.shape(0), "num_primary: expected one per list");
  auto* lengths = new uint64_t[num_entries.shape(0)];
  nb::capsule owner(lengths, [](void* p) noexcept { delete[] static_cast<uint64_t*>(p); });
  for (size_t i = 0; i < num_entries.shape(0); i++)
    lengths[i] = list_sections(shape, num_entries.data()[i], num_primary.data()[i]).end;
  return nb::ndarray<nb::numpy, uint64_t, nb::ndim<1>>(lengths, {num_entries.shape(0)}, owner);
}

void pack(uint8_t id_bytes, uint8_t row_bytes, uint32_t first_list, const Vector<uint32_t>& num_entries,
          const Vector<uint32_t>& num_primary, const Vector<uint64_t>& first_rows, const Matrix<uint8_t>& codes,
          const Vector<int64_t>& ids, const Vector<uint64_t>& rows, Filled<uint8_t> out) {
  ListShape shape = shape_of(static_cast<uint32_t>(codes.shape(1)), id_bytes, row_bytes);
  PackInput input{first_list,
                  {num_entries.data(), num_entries.shape(0)},
                  {num_primary.data(), num_primary.shape(0)},
                  {first_rows.data(), first_rows.shape(0)},
                  reinterpret_cast<const std::byte*>(codes.data()),
                  ids.data(),
                  rows.data()};
  size_t entries = 0;
  for (uint32_t count : input.num_entries) entries += count;
  require(num_primary.shape(0) == num_entries.shape(0) && first_rows.shape(0) == num_entries.shape(0),
          "num_primary and first_rows: expected one per list");
  require(codes.shape(0) == entries && ids.shape(0) == entries && (row_bytes == 0 || rows.shape(0) == entries),
          "codes, ids and rows: expected one per entry");
  require(out.shape(0) == packed_bytes(shape, input.num_entries, input.num_primary), "out: expected packed_bytes");
  nb::gil_scoped_release unlocked;
  pack_lists(shape, input, {reinterpret_cast<std::byte*>(out.data()), out.shape(0)});
}

CopyRule parse_copy_rule(const std::string& name) {
  if (name == "nearest") return CopyRule::nearest;
  if (name == "soar") return CopyRule::soar;
  if (name == "rng") return CopyRule::rng;
  throw InvalidArgument("copy rule: expected nearest, soar or rng, found '" + name + "'");
}

void copies(const std::string& rule_name, const Matrix<float>& rows, const Matrix<int32_t>& candidates,
            const Matrix<float>& distances, const Matrix<float>& centroids, FilledMatrix<int32_t> out) {
  CopyRule rule = parse_copy_rule(rule_name);
  const size_t n = rows.shape(0), m = candidates.shape(1);
  require(rows.shape(1) == centroids.shape(1), "centroids: dimension differs from the rows'");
  require(candidates.shape(0) == n && distances.shape(0) == n && distances.shape(1) == m && out.shape(0) == n,
          "candidates, distances and out: expected one row per vector");
  require(m >= 1 && out.shape(1) >= 1, "candidates and out: expected at least one column");
  nb::gil_scoped_release unlocked;
  const auto num_centroids = static_cast<int32_t>(centroids.shape(0));
  for (size_t i = 0; i < n * m; i++)
    require(candidates.data()[i] < num_centroids && (candidates.data()[i] >= 0 || i % m != 0),
            "candidates: there is no such centroid");
  choose_copies(rule, rows.data(), n, rows.shape(1), candidates.data(), distances.data(), m, centroids.data(),
                out.shape(1), out.data());
}

nb::tuple read_list(const Vector<uint8_t>& bytes, uint32_t list_number, uint32_t code_bytes, uint8_t id_bytes,
                    uint8_t row_bytes, const std::string& file) {
  ListView view({reinterpret_cast<const std::byte*>(bytes.data()), bytes.shape(0)}, list_number,
                shape_of(code_bytes, id_bytes, row_bytes), file);
  const size_t n = view.num_entries();
  auto* ids = new int64_t[n];
  auto* rows = new uint64_t[n];
  nb::capsule ids_owner(ids, [](void* p) noexcept { delete[] static_cast<int64_t*>(p); });
  nb::capsule rows_owner(rows, [](void* p) noexcept { delete[] static_cast<uint64_t*>(p); });
  for (size_t i = 0; i < n; i++) ids[i] = view.id(i), rows[i] = view.row(i);
  size_t codes_at = static_cast<size_t>(view.codes() - reinterpret_cast<const std::byte*>(bytes.data()));
  return nb::make_tuple(nb::ndarray<nb::numpy, int64_t, nb::ndim<1>>(ids, {n}, ids_owner),
                        nb::ndarray<nb::numpy, uint64_t, nb::ndim<1>>(rows, {n}, rows_owner), view.num_primary(),
                        codes_at);
}

uint64_t list_first_row(const Vector<uint8_t>& bytes, uint32_t list_number, uint32_t code_bytes, uint8_t id_bytes,
                        uint8_t row_bytes, const std::string& file) {
  return ListView({reinterpret_cast<const std::byte*>(bytes.data()), bytes.shape(0)}, list_number,
                  shape_of(code_bytes, id_bytes, row_bytes), file)
      .first_row();
}

void bind_build(nb::module_& m) {
  m.def("list_lengths", &list_lengths, "code_bytes"_a, "id_bytes"_a, "row_bytes"_a, "num_entries"_a.noconvert(),
        "num_primary"_a.noconvert(), "Bytes of each packed posting list, uint64 [num_lists].");
  m.def("pack_lists", &pack, "id_bytes"_a, "row_bytes"_a, "first_list"_a, "num_entries"_a.noconvert(),
        "num_primary"_a.noconvert(), "first_rows"_a.noconvert(), "codes"_a.noconvert(), "ids"_a.noconvert(),
        "rows"_a.noconvert(), "out"_a.noconvert(),
        "Writes consecutive posting lists to out uint8 [sum of list_lengths]; entries come list by list, primaries "
        "first.");
  m.def("read_list", &read_list, "bytes"_a.noconvert(), "list_number"_a, "code_bytes"_a, "id_bytes"_a, "row_bytes"_a,
        "file"_a,
        nb::sig(
            "def read_list(bytes: numpy.typing.NDArray[numpy.uint8], list_number: int, code_bytes: int, id_bytes: int, "
            "row_bytes: int, file: str) -> tuple[numpy.typing.NDArray[numpy.int64], "
            "numpy.typing.NDArray[numpy.uint64], int, int]"),
        "One packed list, checked: (ids int64 [n], rows uint64 [n], num_primary, offset of the codes in bytes).");
  m.def("list_first_row", &list_first_row, "bytes"_a.noconvert(), "list_number"_a, "code_bytes"_a, "id_bytes"_a,
        "row_bytes"_a, "file"_a, "The row of the first primary entry of one packed list, checked.");
  m.def(
      "choose_copies", &copies, "rule"_a, "rows"_a.noconvert(), "candidates"_a.noconvert(), "distances"_a.noconvert(),
      "centroids"_a.noconvert(), "out"_a.noconvert(),
      "Fills out int32 [n, copies] with the centroids that hold each row, the primary one first, -1 behind the last.");
}

}  // namespace

void bind_search(nb::module_& m) {
  bind_search_options(m);
  bind_searcher(m);
  bind_exact_scan(m);
  bind_build(m);
}

}  // namespace outcrop::bindings
