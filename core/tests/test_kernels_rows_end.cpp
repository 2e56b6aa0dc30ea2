// Kernels read nothing outside the rows and the query: each array ends where an unreadable page begins.
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "kernels/distance.hpp"
#include "kernels/half.hpp"
#include "kernels/rows.hpp"
#include "kernels/sq8.hpp"
#include "tests/check.hpp"

namespace outcrop::testing {
namespace {

// size bytes of ones that end at, or begin after, a page that cannot be read.
class Fenced {
 public:
  explicit Fenced(size_t size) : page_(static_cast<size_t>(sysconf(_SC_PAGESIZE))) {
    length_ = (size + page_ - 1) / page_ * page_ + page_;
    base_ = static_cast<std::byte*>(mmap(nullptr, length_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    REQUIRE(base_ != MAP_FAILED);
    data_ = base_ + length_ - page_ - size;
    std::memset(data_, 1, size);
    REQUIRE(mprotect(base_ + length_ - page_, page_, PROT_NONE) == 0);
  }
  ~Fenced() { munmap(base_, length_); }
  Fenced(const Fenced&) = delete;
  Fenced& operator=(const Fenced&) = delete;
  std::byte* bytes() const { return data_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  size_t page_, length_;
  std::byte *base_, *data_;
};

TEST(kernels_read_nothing_behind_the_last_row) {
  for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
    if (!isa_supported(isa)) continue;
    for (size_t dim = 1; dim <= 130; ++dim)
      for (size_t n : {size_t{1}, size_t{4}, size_t{5}})
        for (Metric metric : {Metric::l2, Metric::inner_product}) {
          const Fenced query(dim * sizeof(float)), bytes(dim), out(n * sizeof(float));
          for (Dtype dtype : {Dtype::float32, Dtype::float16, Dtype::uint8, Dtype::int8}) {
            const size_t stride = dim * item_bytes(dtype);
            const Fenced rows(n * stride);
            distances(dtype, metric, query.as<float>(), rows.bytes(), n, dim, stride, out.as<float>(), isa);
            CHECK_EQUAL(out.as<float>()[0], out.as<float>()[n - 1]);
          }
          const Fenced rows(n * dim);
          distances_u8(metric, bytes.as<uint8_t>(), rows.bytes(), n, dim, dim, out.as<float>(), isa);
          CHECK_EQUAL(out.as<float>()[n - 1], metric == Metric::l2 ? 0.0f : -static_cast<float>(dim));
          distances_i8(metric, bytes.as<int8_t>(), rows.bytes(), n, dim, dim, out.as<float>(), isa);
          CHECK_EQUAL(out.as<float>()[n - 1], metric == Metric::l2 ? 0.0f : -static_cast<float>(dim));
        }
  }
}

TEST(codes_and_conversions_touch_nothing_behind_the_end) {
  for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
    if (!isa_supported(isa)) continue;
    for (size_t dim = 1; dim <= 70; ++dim) {
      const std::vector<float> lower(dim, 0.0f), step(dim, 0.25f);
      const Sq8 code(lower, step);
      const Fenced rows(5 * dim * sizeof(float)), codes(5 * dim), out(5 * sizeof(float)), halves(dim * 2);
      code.encode(rows.as<float>(), 5, codes.as<uint8_t>(), out.as<float>(), isa);
      for (Metric metric : {Metric::l2, Metric::inner_product})
        sq8_distances(Sq8Query(code, metric, rows.as<float>()), codes.bytes(), 5, dim, out.as<float>(), isa);
      CHECK_EQUAL(out.as<float>()[0], out.as<float>()[4]);
      floats_to_halves(rows.as<float>(), dim, halves.bytes(), isa);
      const Fenced floats(dim * sizeof(float));
      halves_to_floats(halves.bytes(), dim, floats.as<float>(), isa);
      CHECK_EQUAL(floats.as<float>()[dim - 1], half_to_float(halves.as<uint16_t>()[0]));
    }
  }
}

}  // namespace
}  // namespace outcrop::testing
