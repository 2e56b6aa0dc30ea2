#include <filesystem>
#include <random>
#include <set>

#include "error.hpp"
#include "io/buffer_arena.hpp"
#include "tests/check.hpp"
#include "tests/io_files.hpp"
#include "tiers/scratch_file.hpp"

namespace outcrop::testing {
namespace {

constexpr uint32_t kExtent = 8192;

TEST(scratch_file_gives_back_what_was_written_extent_by_extent_and_in_runs) {
  TemporaryFolder folder;
  ScratchFile file(folder.file("."), 10 * kExtent, kExtent);
  BufferArena arena(4 * kExtent);
  auto a = arena.try_lease(kExtent), b = arena.try_lease(kExtent), c = arena.try_lease(kExtent);
  std::fill_n(a.data(), kExtent, std::byte{1});
  std::fill_n(b.data(), kExtent, std::byte{2});
  std::byte* both[] = {a.data(), b.data()};
  file.write(4, both);
  std::byte* one[] = {c.data()};
  file.read(5, one);
  CHECK(std::all_of(c.data(), c.data() + kExtent, [](std::byte byte) { return byte == std::byte{2}; }));
  file.read(4, one);
  CHECK(std::all_of(c.data(), c.data() + kExtent, [](std::byte byte) { return byte == std::byte{1}; }));
}

TEST(scratch_file_has_no_name_and_leaves_nothing) {
  TemporaryFolder folder;
  ScratchFile file(folder.file("."), 10 * kExtent, kExtent);
  CHECK(std::filesystem::is_empty(folder.file(".")));
}

TEST(scratch_file_lets_streams_grow_in_one_piece) {
  TemporaryFolder folder;
  ScratchFile file(folder.file("."), 256 * kExtent, kExtent);
  uint32_t last[4] = {ScratchFile::kNone, ScratchFile::kNone, ScratchFile::kNone, ScratchFile::kNone};
  int breaks = 0;
  for (int step = 0; step < 80; ++step)
    for (uint32_t& end : last) {
      const uint32_t extent = file.allocate(end);
      REQUIRE(extent != ScratchFile::kNone);
      breaks += end != ScratchFile::kNone && extent != end + 1 ? 1 : 0;
      end = extent;
      if (file.num_free() < 30) return;
    }
  CHECK(breaks <= 4);
}

TEST(scratch_file_never_hands_out_an_extent_twice_and_finds_every_free_one) {
  const unsigned seed = std::random_device{}();
  std::mt19937 random(seed);
  TemporaryFolder folder;
  const uint32_t n = 50;
  ScratchFile file(folder.file("."), n * kExtent, kExtent);
  std::set<uint32_t> taken;
  for (int step = 0; step < 20'000; ++step) {
    if (random() % 2 == 0) {
      const uint32_t extent = file.allocate(random() % 3 == 0 ? ScratchFile::kNone : uint32_t(random() % n));
      if ((extent == ScratchFile::kNone) != (taken.size() == n))
        record_failure(__FILE__, __LINE__, "a free extent was not found; seed " + std::to_string(seed));
      if (extent != ScratchFile::kNone && !taken.insert(extent).second)
        record_failure(__FILE__, __LINE__, "an extent was given twice; seed " + std::to_string(seed));
    } else if (!taken.empty()) {
      const auto some = std::next(taken.begin(), long(random() % taken.size()));
      file.release(*some);
      taken.erase(some);
    }
    CHECK_EQUAL(file.num_free(), n - taken.size());
  }
}

TEST(scratch_file_refuses_what_cannot_be) {
  TemporaryFolder folder;
  CHECK_THROWS(ScratchFile(folder.file("."), kExtent, 1000), InvalidArgument, "multiple of 4096");
  CHECK_THROWS(ScratchFile(folder.file("."), 100, kExtent), InvalidArgument, "hold 0 extents");
  CHECK_THROWS(ScratchFile(folder.file("missing"), kExtent, kExtent), StorageFailure, "missing");
  CHECK_THROWS(ScratchFile(folder.file("."), uint64_t{1} << 50, 1 << 30), ResourceExhausted, "no room");
}

}  // namespace
}  // namespace outcrop::testing
