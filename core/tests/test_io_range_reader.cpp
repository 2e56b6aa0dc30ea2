#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>
#include <thread>

#include "error.hpp"
#include "io/file_scan.hpp"
#include "io/range_reader.hpp"
#include "tests/check.hpp"
#include "tests/io_faults.hpp"
#include "tests/io_files.hpp"
#include "tests/stop_words.hpp"

namespace outcrop::testing {
namespace {

struct Fixture {
  TemporaryFolder folder;
  std::shared_ptr<Faults> faults = std::make_shared<Faults>();
  Bytes payload = random_bytes(100 * kBlockBytes + 1234, 21);
  Bytes image = block_file_image("vectors", payload);
  std::string path = folder.file("vectors.blk");
  BufferArena arena{32 * kBlockBytes};
  std::shared_ptr<BlockFile> file;

  explicit Fixture(ReaderKind kind = ReaderKind::automatic) {
    write_file(path, image);
    file =
        BlockFile::open(BlockReader::open({.kind = kind, .queue_depth = 4, .num_threads = 2, .faults = faults}), path);
  }

  void flip(uint64_t offset) {
    image[offset] ^= std::byte{4};
    write_file(path, image);
  }

  // Reads the ranges and checks every byte.
  ReadUsage read(const std::vector<int64_t>& offsets, const std::vector<int64_t>& lengths, uint64_t gap_bytes) {
    Bytes expected;
    for (size_t i = 0; i < offsets.size(); ++i)
      expected.insert(expected.end(), payload.begin() + offsets[i], payload.begin() + offsets[i] + lengths[i]);
    Bytes found(expected.size());
    const ReadUsage usage = read_ranges(*file, offsets, lengths, found, gap_bytes, arena);
    CHECK(found == expected);
    CHECK_EQUAL(arena.in_use(), size_t{0});
    return usage;
  }
};

TEST(read_ranges_packs_ranges_in_the_order_given_and_counts_what_it_read) {
  Fixture f;
  const auto usage = f.read({50000, 10, 10, 0, 4090}, {10, 5, 5, 0, 20}, 0);
  CHECK_EQUAL(usage.reads, uint64_t{2});  // blocks 1 and 2 together, and the one of byte 50000
  CHECK_EQUAL(usage.bytes, uint64_t{3 * kBlockBytes});
  CHECK_EQUAL(usage.pages, uint64_t{3});
}

TEST(read_ranges_bridges_gaps_and_tells_the_pages_that_were_needed) {
  Fixture f;
  const auto usage = f.read({0, 3 * 4096}, {1, 1}, 2 * kBlockBytes);
  CHECK_EQUAL(usage.reads, uint64_t{1});
  CHECK_EQUAL(usage.bytes, uint64_t{4 * kBlockBytes});
  CHECK_EQUAL(usage.pages, uint64_t{2});
}

TEST(read_ranges_gives_the_same_bytes_by_every_reader_for_random_ranges) {
  for (ReaderKind kind : {ReaderKind::automatic, ReaderKind::pread, ReaderKind::memory}) {
    Fixture f(kind);
    for (unsigned seed = 0; seed < 30; ++seed) {
      std::mt19937 random(seed);
      std::vector<int64_t> offsets, lengths;
      for (size_t i = random() % 30; i > 0; --i) {
        offsets.push_back(int64_t(random() % f.payload.size()));
        lengths.push_back(
            std::min<int64_t>(random() % (seed % 2 ? 300 : 60000), int64_t(f.payload.size()) - offsets.back()));
      }
      f.read(offsets, lengths, random() % 20000);
    }
    f.read({0}, {int64_t(f.payload.size())}, 0);
  }
}

TEST(read_ranges_apart_gives_each_range_to_its_place) {
  Fixture f;
  Bytes first(5000), second(0), third(12000);
  const std::vector<std::span<std::byte>> outs{first, second, third};
  const std::vector<int64_t> offsets{7, 5007, 5007};
  const ReadUsage usage = read_ranges_apart(*f.file, offsets, outs, 0, f.arena);
  CHECK(std::equal(first.begin(), first.end(), f.payload.begin() + 7));
  CHECK(std::equal(third.begin(), third.end(), f.payload.begin() + 5007));
  CHECK_EQUAL(usage.reads, uint64_t{1});
  const std::vector<int64_t> behind{int64_t(f.payload.size())}, before{-1};
  const std::vector<std::span<std::byte>> one{first};
  CHECK_THROWS(read_ranges_apart(*f.file, behind, one, 0, f.arena), InvalidArgument, "");
  CHECK_THROWS(read_ranges_apart(*f.file, before, one, 0, f.arena), InvalidArgument, "negative");
  CHECK_THROWS(read_ranges_apart(*f.file, offsets, one, 0, f.arena), InvalidArgument, "outs");
}

TEST(read_ranges_works_with_an_arena_of_one_block) {
  Fixture f;
  BufferArena small(1);
  Bytes out(10 * kBlockBytes);
  const std::vector<int64_t> offsets{100}, lengths{10 * kBlockBytes};
  CHECK_EQUAL(read_ranges(*f.file, offsets, lengths, out, 0, small).reads, uint64_t{11});
  CHECK(std::equal(out.begin(), out.end(), f.payload.begin() + 100));
}

TEST(read_ranges_waits_while_others_hold_the_arena) {
  Fixture f;
  auto lease = f.arena.try_lease(f.arena.capacity());
  Bytes out(10);
  const std::vector<int64_t> offsets{100}, lengths{10};
  StopWords words;
  words.end_after(std::chrono::milliseconds(10));
  CHECK_THROWS(read_ranges(*f.file, offsets, lengths, out, 0, f.arena, Stop(words.words)), DeadlineExceeded, "");
  std::jthread holder([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    lease.reset();
  });
  read_ranges(*f.file, offsets, lengths, out, 0, f.arena);
  CHECK(std::equal(out.begin(), out.end(), f.payload.begin() + 100));
}

TEST(read_ranges_that_is_told_to_stop_reads_no_more_and_gives_its_buffers_back) {
  Fixture f;
  Bytes out(f.payload.size());
  const std::vector<int64_t> offsets{0}, lengths{int64_t(out.size())};
  StopWords words;
  const auto read = [&] { return read_ranges(*f.file, offsets, lengths, out, 0, f.arena, Stop(words.words)); };
  words.end_after(std::chrono::nanoseconds(0));
  CHECK_THROWS(read(), DeadlineExceeded, "");
  CHECK_EQUAL(f.file->reader().statistics().reads, uint64_t{0});
  words = {};
  f.faults->on_answer = [&](uint32_t, std::byte*, int64_t result) {
    words.set();
    return result;
  };
  CHECK_THROWS(read(), Cancelled, "");
  CHECK(f.file->reader().statistics().reads <= 8);  // those in flight, of 14
  CHECK_EQUAL(f.arena.in_use(), size_t{0});
  words = {};
  f.faults->on_answer = nullptr;
  read();
  CHECK(out == f.payload);
}

TEST(read_ranges_refuses_bad_ranges_before_any_read) {
  Fixture f;
  Bytes out(10);
  using Numbers = std::vector<int64_t>;
  const auto read = [&](Numbers offsets, Numbers lengths) { read_ranges(*f.file, offsets, lengths, out, 0, f.arena); };
  CHECK_THROWS(read({0, 1}, {10}), InvalidArgument, "2 offsets and 1 lengths");
  CHECK_THROWS(read({-1}, {10}), InvalidArgument, "range 0 has a negative");
  CHECK_THROWS(read({0, 5}, {5, -5}), InvalidArgument, "range 1 has a negative");
  CHECK_THROWS(read({int64_t(f.payload.size()) - 9}, {10}), InvalidArgument, "payload's end");
  CHECK_THROWS(read({INT64_MAX}, {INT64_MAX}), InvalidArgument, "payload's end");
  CHECK_THROWS(read({0}, {9}), InvalidArgument, "sum of lengths, 9");
  CHECK_THROWS(read({0, 0}, {9, 2}), InvalidArgument, "range 1 passes its end");
  CHECK_EQUAL(f.file->reader().statistics().reads, uint64_t{0});
}

TEST(read_ranges_reports_a_flipped_bit_and_gives_its_buffers_back) {
  Fixture f;
  f.flip(5 * 4096 + 99);
  CHECK_THROWS(f.read({0, 200000}, {30000, 1000}, 0), CorruptFile, "vectors.blk: block 5 at offset 20480: checksum");
  CHECK_EQUAL(f.arena.in_use(), size_t{0});
  f.read({200000}, {1000}, 0);
}

TEST(read_ranges_reports_a_device_error_with_its_errno_and_drains_its_queue) {
  Fixture f;
  f.faults->on_answer = [n = 0](uint32_t, std::byte*, int64_t result) mutable { return ++n == 3 ? -EIO : result; };
  CHECK_THROWS(f.read({0, 40000, 80000, 120000, 160000}, {1, 1, 1, 1, 1}, 0), StorageFailure, "Input/output error");
  CHECK_EQUAL(f.arena.in_use(), size_t{0});
  f.read({0}, {100}, 0);
}

TEST(concurrent_read_ranges_share_one_file_and_arena) {
  Fixture f;
  BufferArena arena(4 * kBlockBytes);  // two reads
  const auto work = [&](unsigned seed) {
    std::mt19937 random(seed);
    for (int round = 0; round < 20; ++round) {
      const std::vector<int64_t> offsets{int64_t(random() % 300000), int64_t(random() % 300000)}, lengths{5000, 700};
      Bytes out(5700);
      read_ranges(*f.file, offsets, lengths, out, 0, arena);
      CHECK(std::equal(out.begin(), out.begin() + 5000, f.payload.begin() + offsets[0]));
    }
  };
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 4; ++seed) threads.emplace_back(work, seed);
  for (auto& thread : threads) thread.join();
}

TEST(verify_all_passes_a_whole_file_and_tells_its_progress) {
  Fixture f;
  std::vector<uint64_t> seen;
  verify_all(*f.file, f.arena, [&](uint64_t bytes) { seen.push_back(bytes); });
  CHECK(std::is_sorted(seen.begin(), seen.end()));
  REQUIRE(!seen.empty());
  CHECK_EQUAL(seen.back(), f.payload.size());
  CHECK(bad_blocks(*f.file, f.arena, {}).empty());
}

TEST(verify_all_names_the_first_bad_block_and_bad_blocks_all_of_them) {
  Fixture f;
  for (uint64_t block : {99, 40, 41, 101}) f.flip(block * 4096 + 1);
  CHECK_THROWS(verify_all(*f.file, f.arena, {}), CorruptFile, "block 40 at offset 163840");
  CHECK(bad_blocks(*f.file, f.arena, {}) == (std::vector<uint64_t>{40, 41, 99, 101}));
  CHECK_EQUAL(f.arena.in_use(), size_t{0});
}

TEST(verify_all_finds_padding_that_is_not_zero_under_a_right_checksum) {
  Fixture f;
  Bytes longer = f.payload;
  longer.push_back(std::byte{1});  // one byte more, then the header says one less
  f.image = block_file_image("vectors", longer);
  const uint64_t payload_bytes = f.payload.size();
  std::memcpy(f.image.data() + 32, &payload_bytes, 8);
  reseal_header(f.image);
  write_file(f.path, f.image);
  const auto file = BlockFile::open(BlockReader::open(), f.path);
  CHECK_THROWS(verify_all(*file, f.arena, {}), CorruptFile, "block 101: padding is not zero");
}

TEST(verify_all_ends_when_its_progress_throws) {
  Fixture f;
  struct Stop {};
  bool stopped = false;
  try {
    verify_all(*f.file, f.arena, [](uint64_t) { throw Stop(); });
  } catch (const Stop&) {
    stopped = true;
  }
  CHECK(stopped);
  CHECK_EQUAL(f.arena.in_use(), size_t{0});
}

TEST(verify_all_reports_a_file_truncated_while_open) {
  Fixture f(ReaderKind::pread);
  f.image.resize(50 * 4096);
  write_file(f.path, f.image);
  CHECK_THROWS(verify_all(*f.file, f.arena, {}), CorruptFile, "the file ends");
}

}  // namespace
}  // namespace outcrop::testing
