// Distances, the 8-bit scalar code, top-k and passes over rows, as NumPy functions.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <memory>
#include <string>
#include <tuple>

#include "bindings/bindings.hpp"
#include "error.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/distance.hpp"
#include "kernels/row_codec.hpp"
#include "kernels/rows.hpp"
#include "kernels/sq8.hpp"
#include "kernels/top_k.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace outcrop::bindings {

namespace {

using AnyArray = nb::ndarray<nb::ro, nb::device::cpu>;
// The stub generator writes a bare NDArray for arrays of any type, which a strict type checker refuses: such functions
// spell out their signature.
using RowArray = nb::ndarray<nb::ro, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using CodeArray = nb::ndarray<const uint8_t, nb::ndim<2>, nb::device::cpu>;
template <class T>
using Vector = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Matrix = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <class T>
using NumpyVector = nb::ndarray<nb::numpy, T, nb::ndim<1>>;
template <class T>
using NumpyMatrix = nb::ndarray<nb::numpy, T, nb::ndim<2>>;

// An array that NumPy will own. Made and handed over with the interpreter lock held, filled without.
template <class T>
class Output {
 public:
  explicit Output(size_t size) : data_(new T[size]) {}
  T* data() { return data_.get(); }
  NumpyVector<T> release(size_t size) {
    T* data = data_.release();
    return NumpyVector<T>(data, {size}, owner(data));
  }
  NumpyMatrix<T> release(size_t rows, size_t columns) {
    T* data = data_.release();
    return NumpyMatrix<T>(data, {rows, columns}, owner(data));
  }

 private:
  static nb::capsule owner(T* data) {
    return nb::capsule(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
  }
  std::unique_ptr<T[]> data_;
};

Dtype dtype_of(const nb::dlpack::dtype& type, const char* name) {
  if (type == nb::dtype<float>()) return Dtype::float32;
  if (type == nb::dtype<uint8_t>()) return Dtype::uint8;
  if (type == nb::dtype<int8_t>()) return Dtype::int8;
  if (type.code == static_cast<uint8_t>(nb::dlpack::dtype_code::Float) && type.bits == 16 && type.lanes == 1)
    return Dtype::float16;
  throw InvalidArgument(std::string(name) + ": expected float32, float16, uint8 or int8");
}

Metric parse_metric(const std::string& name) {
  if (name == "l2") return Metric::l2;
  if (name == "ip") return Metric::inner_product;
  throw InvalidArgument("metric: expected l2 or ip, found '" + name + "'");
}

void require(bool condition, const std::string& message) {
  if (!condition) throw InvalidArgument(message);
}

void require_dim(const char* name, size_t found, size_t expected) {
  require(found == expected,
          std::string(name) + ": expected dimension " + std::to_string(expected) + ", found " + std::to_string(found));
}

// Rows may lie any distance apart, forwards, but the elements of one are adjacent.
size_t row_stride_bytes(const AnyArray& rows, const char* name) {
  require(rows.ndim() == 2, std::string(name) + ": expected two dimensions, found " + std::to_string(rows.ndim()));
  if (rows.shape(0) == 0) return 0;  // The strides of an empty array mean nothing.
  require(rows.shape(1) <= 1 || rows.stride(1) == 1, std::string(name) + ": the elements of a row must be adjacent");
  require(rows.shape(0) <= 1 || rows.stride(0) >= 0, std::string(name) + ": rows must not run backwards");
  return static_cast<size_t>(rows.stride(0)) * rows.itemsize();
}

const std::byte* bytes_of(const void* data) { return static_cast<const std::byte*>(data); }

NumpyVector<float> py_distances(const AnyArray& query, const AnyArray& rows, const std::string& metric_name,
                                const std::string& isa_name) {
  const Metric metric = parse_metric(metric_name);
  const Isa isa = parse_isa(isa_name);
  const Dtype row_type = dtype_of(rows.dtype(), "rows"), query_type = dtype_of(query.dtype(), "query");
  const size_t stride = row_stride_bytes(rows, "rows"), n = rows.shape(0), dim = rows.shape(1);
  require(query.ndim() == 1 && (dim <= 1 || query.stride(0) == 1), "query: expected one contiguous dimension");
  require_dim("query", query.shape(0), dim);
  require(dim <= kMaxDim, "rows: the largest dimension is " + std::to_string(kMaxDim));
  const bool integers = query_type == row_type && (row_type == Dtype::uint8 || row_type == Dtype::int8);
  require(integers || query_type == Dtype::float32, "query: expected float32, or the rows' own integer type");
  Output<float> out(n);
  {
    nb::gil_scoped_release unlocked;
    if (!integers)
      distances(row_type, metric, static_cast<const float*>(query.data()), bytes_of(rows.data()), n, dim, stride,
                out.data(), isa);
    else if (row_type == Dtype::uint8)
      distances_u8(metric, static_cast<const uint8_t*>(query.data()), bytes_of(rows.data()), n, dim, stride, out.data(),
                   isa);
    else
      distances_i8(metric, static_cast<const int8_t*>(query.data()), bytes_of(rows.data()), n, dim, stride, out.data(),
                   isa);
  }
  return out.release(n);
}

std::tuple<NumpyMatrix<uint8_t>, NumpyVector<float>> py_encode(const Sq8& code, const Matrix<float>& rows,
                                                               const std::string& isa_name) {
  require_dim("rows", rows.shape(1), code.dim());
  const Isa isa = parse_isa(isa_name);
  const size_t n = rows.shape(0), dim = rows.shape(1);
  Output<uint8_t> codes(n * dim);
  Output<float> errors(n);
  {
    nb::gil_scoped_release unlocked;
    code.encode(rows.data(), n, codes.data(), errors.data(), isa);
  }
  return std::make_tuple(codes.release(n, dim), errors.release(n));
}

NumpyMatrix<float> py_decode(const Sq8& code, const Matrix<uint8_t>& codes) {
  require_dim("codes", codes.shape(1), code.dim());
  const size_t n = codes.shape(0), dim = codes.shape(1);
  Output<float> out(n * dim);
  {
    nb::gil_scoped_release unlocked;
    code.decode(codes.data(), n, dim, out.data());
  }
  return out.release(n, dim);
}

NumpyVector<float> py_sq8_distances(const Sq8& code, const Vector<float>& query, const CodeArray& codes,
                                    const std::string& metric_name, const std::string& isa_name) {
  const size_t stride = row_stride_bytes(AnyArray(codes), "codes"), n = codes.shape(0);
  require_dim("query", query.shape(0), code.dim());
  require_dim("codes", codes.shape(1), code.dim());
  const Metric metric = parse_metric(metric_name);
  const Isa isa = parse_isa(isa_name);
  Output<float> out(n);
  {
    nb::gil_scoped_release unlocked;
    sq8_distances(Sq8Query(code, metric, query.data()), bytes_of(codes.data()), n, stride, out.data(), isa);
  }
  return out.release(n);
}

NumpyVector<float> copy_vector(std::span<const float> values) {
  Output<float> out(values.size());
  std::copy(values.begin(), values.end(), out.data());
  return out.release(values.size());
}

std::tuple<NumpyVector<float>, NumpyVector<int64_t>, NumpyVector<int64_t>> py_top_k(const Vector<float>& distances,
                                                                                    const Vector<int64_t>& ids,
                                                                                    int64_t k) {
  require(distances.shape(0) == ids.shape(0),
          "top_k: " + std::to_string(distances.shape(0)) + " distances, but " + std::to_string(ids.shape(0)) + " ids");
  require(k >= 1, "k: expected at least 1, found " + std::to_string(k));
  std::vector<Neighbor> nearest;
  {
    nb::gil_scoped_release unlocked;
    TopK top(static_cast<size_t>(k));
    top.push_many(distances.data(), ids.data(), ids.shape(0), 0);
    nearest = top.sorted();
  }
  Output<float> kept_distances(nearest.size());
  Output<int64_t> kept_ids(nearest.size()), rows(nearest.size());
  for (size_t i = 0; i < nearest.size(); ++i) {
    kept_distances.data()[i] = nearest[i].distance;
    kept_ids.data()[i] = nearest[i].id;
    rows.data()[i] = static_cast<int64_t>(nearest[i].row);
  }
  const size_t size = nearest.size();
  return std::make_tuple(kept_distances.release(size), kept_ids.release(size), rows.release(size));
}

int64_t py_check_finite(const RowArray& rows) {
  const Dtype dtype = dtype_of(rows.dtype(), "rows");
  nb::gil_scoped_release unlocked;
  return check_finite(dtype, bytes_of(rows.data()), rows.shape(0), rows.shape(1));
}

int64_t py_normalize_rows(const nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>& rows) {
  nb::gil_scoped_release unlocked;
  return normalize_rows(rows.data(), rows.shape(0), rows.shape(1));
}

std::tuple<NumpyVector<float>, NumpyVector<float>> py_row_bounds(const RowArray& rows) {
  const Dtype dtype = dtype_of(rows.dtype(), "rows");
  const size_t dim = rows.shape(1);
  Output<float> lower(dim), upper(dim);
  {
    nb::gil_scoped_release unlocked;
    row_bounds(dtype, bytes_of(rows.data()), rows.shape(0), dim, lower.data(), upper.data());
  }
  return std::make_tuple(lower.release(dim), upper.release(dim));
}

nb::typed<nb::dict, nb::str, nb::bool_> py_cpu_features() {
  nb::dict result;
  for (const auto& [name, present] : cpu_features()) result[name] = present;
  return result;
}

void bind_sq8(nb::module_& m) {
  nb::class_<Sq8>(m, "Sq8",
                  "The 8-bit scalar code: one byte per dimension, decoded as lower_i + step_i * c_i.\n\n"
                  "lower, step: float32 [dim], finite, step >= 0; a step of 0 is a constant dimension.\n"
                  "Raises InvalidArgument naming the dimension otherwise.")
      .def(
          "__init__",
          [](Sq8* self, const Vector<float>& lower, const Vector<float>& step) {
            new (self) Sq8({lower.data(), lower.shape(0)}, {step.data(), step.shape(0)});
          },
          "lower"_a.noconvert(), "step"_a.noconvert())
      .def_prop_ro("dim", &Sq8::dim)
      .def_prop_ro(
          "lower", [](const Sq8& code) { return copy_vector(code.lower()); }, nb::rv_policy::move,
          "float32 [dim], a copy.")
      .def_prop_ro(
          "step", [](const Sq8& code) { return copy_vector(code.step()); }, nb::rv_policy::move,
          "float32 [dim], a copy.")
      .def("encode", py_encode, "rows"_a.noconvert(), "isa"_a = "auto",
           "rows: float32 [n, dim]. Returns codes uint8 [n, dim] and error norms ||x - decoded|| float32 [n].\n"
           "c_i = rint((x_i - lower_i) / step_i) held to 0..255; equal for every isa.")
      .def("decode", py_decode, "codes"_a.noconvert(), "codes: uint8 [n, dim]. Returns float32 [n, dim].")
      .def("distances", py_sq8_distances, "query"_a.noconvert(), "codes"_a.noconvert(), "metric"_a, "isa"_a = "auto",
           "Distances float32 [n] of query float32 [dim] to the decoded codes uint8 [n, dim], as `distances`.");
}

void py_decode_rows(const std::string& codec, const CodeArray& rows,
                    const nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>& out,
                    const std::string& isa_name) {
  const RowFormat format = row_format(parse_row_codec(codec), rows.shape(1));
  require(format.decodes(), "decode_rows: raw rows are not coded");
  require(out.shape(0) == rows.shape(0),
          "decode_rows: " + std::to_string(rows.shape(0)) + " rows, and out has " + std::to_string(out.shape(0)));
  require_dim("out", out.shape(1), format.dim());
  const size_t stride = row_stride_bytes(AnyArray(rows), "rows");
  const Isa isa = parse_isa(isa_name);
  nb::gil_scoped_release unlocked;
  decode_rows(format, bytes_of(rows.data()), rows.shape(0), stride, out.data(), isa);
}

void bind_rows(nb::module_& m) {
  m.def("decode_rows", py_decode_rows, "codec"_a, "rows"_a.noconvert(), "out"_a.noconvert(), "isa"_a = "auto",
        "Decode coded rows of a feature table, uint8 [n, row_bytes], to out, float32 [n, dim].\n\n"
        "codec: float16, bfloat16 or int8 (dim bytes, then the row's scale as float32). Rows may lie any number of\n"
        "bytes apart. The result is the same for every isa. Raises InvalidArgument.");
  m.def("check_finite", py_check_finite, "rows"_a.noconvert(),
        nb::sig("def check_finite(rows: NDArray[numpy.generic]) -> int"),
        "The first row of rows [n, dim] that holds a NaN or an infinity, or -1. float32, float16, uint8, int8.");
  m.def("normalize_rows", py_normalize_rows, "rows"_a.noconvert(),
        "Scale each row of rows float32 [n, dim] to Euclidean length 1, in place.\n\n"
        "Returns the first row that is zero or not finite, or -1; such rows are left as they are.");
  m.def(
      "row_bounds", py_row_bounds, "rows"_a.noconvert(),
      nb::sig("def row_bounds(rows: NDArray[numpy.generic]) -> tuple[NDArray[numpy.float32], NDArray[numpy.float32]]"),
      "Smallest and largest value of each dimension of rows [n, dim]: two float32 [dim]. NaN is passed over; no rows\n"
      "give +inf and -inf. float32, float16, uint8, int8.");
}

}  // namespace

void bind_kernels(nb::module_& m) {
  m.def(
      "distances", py_distances, "query"_a.noconvert(), "rows"_a.noconvert(), "metric"_a, "isa"_a = "auto",
      nb::sig("def distances(query: NDArray[numpy.generic], rows: NDArray[numpy.generic], metric: str, "
              "isa: str = 'auto') -> NDArray[numpy.float32]"),
      "Distances float32 [n] from query [dim] to rows [n, dim], smaller is nearer.\n\n"
      "metric: 'l2' (squared) or 'ip' (negated dot product). rows: float32, float16, uint8 or int8; they may lie any\n"
      "number of bytes apart. query: float32, or the rows' own integer type, and then the result is exact.\n"
      "isa: 'auto', 'scalar', 'avx2', 'avx512'. Raises InvalidArgument on other types, shapes or names.");
  m.def("top_k", py_top_k, "distances"_a.noconvert(), "ids"_a.noconvert(), "k"_a,
        "The k nearest by (distance, id, row), each id once: distances float32 [m], ids int64 [m], rows int64 [m].\n\n"
        "distances: float32 [n]; ids: int64 [n]; row is the place in them. m is k, or the number of different ids if\n"
        "that is less. Raises InvalidArgument unless 1 <= k <= 16384.");
  m.def(
      "active_isa", [] { return isa_name(active_isa()); },
      "The instruction set in use: 'scalar', 'avx2' or 'avx512'; the environment variable OUTCROP_CPU lowers it.");
  m.def("cpu_features", py_cpu_features, "What this CPU offers of what the core can use, by name.");
  bind_sq8(m);
  bind_rows(m);
}

}  // namespace outcrop::bindings
