#include <cstring>
#include <random>
#include <thread>

#include "error.hpp"
#include "io/buffer_arena.hpp"
#include "tests/check.hpp"

namespace outcrop::testing {
namespace {

TEST(arena_lends_aligned_room_and_counts_it) {
  BufferArena arena(10 * kBlockBytes);
  auto lease = arena.try_lease(kBlockBytes + 1);
  REQUIRE(lease);
  CHECK_EQUAL(lease.size(), size_t{2 * kBlockBytes});
  CHECK(reinterpret_cast<uintptr_t>(lease.data()) % kBlockBytes == 0);
  CHECK(arena.contains(lease.data(), lease.size()));
  CHECK_EQUAL(arena.in_use(), lease.size());
  lease.reset();
  CHECK(!lease);
  CHECK_EQUAL(arena.in_use(), size_t{0});
  CHECK_EQUAL(arena.peak(), size_t{2 * kBlockBytes});
}

TEST(arena_gives_an_empty_lease_when_no_piece_is_long_enough) {
  BufferArena arena(4 * kBlockBytes);
  auto a = arena.try_lease(kBlockBytes), b = arena.try_lease(kBlockBytes);
  auto c = arena.try_lease(kBlockBytes), d = arena.try_lease(kBlockBytes);
  CHECK(!arena.try_lease(1));
  a.reset();
  c.reset();
  CHECK(!arena.try_lease(2 * kBlockBytes));  // two free pieces of one block that do not touch
  b.reset();
  CHECK(arena.try_lease(3 * kBlockBytes));  // joined again
  CHECK(!arena.try_lease(0));
  CHECK(!arena.try_lease(5 * kBlockBytes));
}

TEST(a_moved_lease_is_given_back_once) {
  BufferArena arena(2 * kBlockBytes);
  auto a = arena.try_lease(1);
  auto b = std::move(a);
  CHECK(!a);
  CHECK(b);
  b = arena.try_lease(1);
  CHECK_EQUAL(arena.in_use(), size_t{kBlockBytes});
}

TEST(arena_of_no_bytes_is_refused) { CHECK_THROWS(BufferArena(0), InvalidArgument, "at least 1 byte"); }

TEST(concurrent_threads_lease_disjoint_pieces_and_return_them_all) {
  BufferArena arena(64 * kBlockBytes);
  const auto work = [&](unsigned seed) {
    std::mt19937 random(seed);
    for (int round = 0; round < 500; ++round) {
      auto lease = arena.try_lease(1 + random() % (8 * kBlockBytes));
      if (!lease) continue;
      std::memset(lease.data(), int(seed), lease.size());
      for (size_t i = 0; i < lease.size(); i += 512) CHECK(lease.data()[i] == std::byte(seed));
    }
  };
  std::vector<std::thread> threads;
  for (unsigned seed = 1; seed <= 4; ++seed) threads.emplace_back(work, seed);
  for (auto& thread : threads) thread.join();
  CHECK_EQUAL(arena.in_use(), size_t{0});
  CHECK(arena.try_lease(arena.capacity()));  // all pieces have joined again
}

}  // namespace
}  // namespace outcrop::testing
