#include <cstring>
#include <random>
#include <utility>

#include "error.hpp"
#include "tests/check.hpp"
#include "tests/io_files.hpp"
#include "tiers/tiered_reader.hpp"

namespace outcrop::testing {
namespace {

// A table on disk, and what reading it by any way must give.
struct Table {
  Table(uint64_t num_rows, uint64_t row_bytes_, const TemporaryFolder& folder, uint64_t seed)
      : row_bytes(row_bytes_), bytes(random_bytes(num_rows * row_bytes_, seed)), arena(1 << 20) {
    write_file(folder.file("rows.blk"), block_file_image("rows", bytes));
    file = BlockFile::open(BlockReader::open({.kind = ReaderKind::pread}), folder.file("rows.blk"), "rows");
  }

  Bytes rows(std::span<const uint32_t> keys) const {
    Bytes expected;
    for (const uint32_t key : keys)
      expected.insert(expected.end(), &bytes[key * row_bytes], &bytes[key * row_bytes] + row_bytes);
    return expected;
  }

  uint64_t row_bytes;
  Bytes bytes;
  BufferArena arena;
  std::shared_ptr<BlockFile> file;
};

TieredReaderOptions options_of(uint64_t row_bytes, uint64_t cache_rows) {
  TieredReaderOptions options;
  options.row_bytes = row_bytes;
  options.cache_rows = cache_rows;
  return options;
}

void add_victim_buffer(TieredReaderOptions& options, const TemporaryFolder& folder, uint64_t buffers,
                       uint64_t extents) {
  options.victim.extent_bytes = 8192;
  const uint64_t extent_bytes = VictimBuffer::extent_bytes_for(options.row_bytes, 8192);
  options.victim.memory_bytes = buffers * extent_bytes;
  options.victim.disk_bytes = extents * extent_bytes;
  options.victim.folder = folder.file(".");
}

std::vector<uint32_t> random_keys(std::mt19937& random, size_t n, uint32_t num_rows) {
  std::vector<uint32_t> keys(n);
  for (uint32_t& key : keys) key = static_cast<uint32_t>(random() % num_rows * (random() % num_rows) / num_rows);
  return keys;
}

// Requests through a window: each is compared with the table.
TierStatistics run(Table& table, const TieredReaderOptions& options, const std::vector<std::vector<uint32_t>>& trace,
                   size_t window, bool& right) {
  TieredReader reader(table.file, table.arena, table.bytes.size() / table.row_bytes, options);
  size_t announced = 0;
  for (uint32_t request = 0; request < trace.size(); ++request) {
    for (; announced < trace.size() && announced < request + window; ++announced)
      CHECK_EQUAL(size_t{reader.announce(trace[announced])}, announced);
    Bytes out(trace[request].size() * table.row_bytes, std::byte{0xee});
    reader.read(request, out);
    right = right && out == table.rows(trace[request]);
  }
  return reader.statistics();
}

TierStatistics run(Table& table, const TieredReaderOptions& options, const std::vector<std::vector<uint32_t>>& trace,
                   size_t window) {
  bool right = true;
  const TierStatistics found = run(table, options, trace, window, right);
  CHECK(right);
  return found;
}

TEST(tiered_reader_gives_the_tables_rows_for_every_width_and_stack_of_tiers) {
  const unsigned seed = std::random_device{}();
  std::mt19937 random(seed);
  for (const uint64_t row_bytes : {4, 34, 512, 1000, 4096, 34'000}) {
    const uint32_t num_rows = row_bytes > 4096 ? 60 : 700;
    TemporaryFolder folder;
    Table table(num_rows, row_bytes, folder, seed);
    std::vector<std::vector<uint32_t>> trace;
    for (int i = 0; i < 20; ++i) trace.push_back(random_keys(random, random() % 4 == 0 ? 3 : num_rows / 4, num_rows));
    trace[5].clear();
    for (const uint64_t cache_rows : {0u, 3u, num_rows / 8, 2 * num_rows})
      for (const size_t window : {1, 2, 8})
        for (const int tiers : {0, 1, 2, 3}) {
          auto options = options_of(row_bytes, cache_rows);
          if (tiers >= 1) add_victim_buffer(options, folder, tiers == 1 ? 40 : 6, tiers == 3 ? 30 : 0);
          if (tiers == 2) options.longest_group = 1;
          if (tiers == 3) options.hot_keys = {0, 1, 7, num_rows - 1};
          bool right = true;
          const TierStatistics found = run(table, options, trace, window, right);
          CHECK_EQUAL(found.rows,
                      found.hot_rows + found.cache_rows + found.victim_rows + found.master_rows + found.repeated_rows);
          CHECK_EQUAL(found.requests, uint64_t{20});
          if (!right) {
            record_failure(__FILE__, __LINE__,
                           "width " + std::to_string(row_bytes) + ", cache " + std::to_string(cache_rows) +
                               ", window " + std::to_string(window) + ", tiers " + std::to_string(tiers) + ", seed " +
                               std::to_string(seed));
            return;
          }
        }
  }
}

TEST(tiered_reader_reads_no_row_twice_that_the_window_still_needs) {
  TemporaryFolder folder;
  Table table(2000, 512, folder, 1);
  std::mt19937 random(7);
  std::vector<std::vector<uint32_t>> trace;
  for (int i = 0; i < 12; ++i) trace.push_back(random_keys(random, 500, 2000));
  auto options = options_of(512, 100);
  add_victim_buffer(options, folder, 200, 400);
  options.longest_group = 1;
  options.device.byte_us = 1e-9;  // so that keeping rows always pays
  const TierStatistics found = run(table, options, trace, trace.size());
  std::vector<uint8_t> seen(2000);
  uint64_t distinct = 0;
  for (const auto& keys : trace)
    for (const uint32_t key : keys) distinct += std::exchange(seen[key], 1) == 0 ? 1 : 0;
  CHECK_EQUAL(found.master_rows, distinct);
  CHECK(found.victim_rows > 0);
}

TEST(tiered_reader_reads_the_misses_of_several_requests_in_one_pass) {
  TemporaryFolder folder;
  Table table(4000, 512, folder, 1);
  std::mt19937 random(7);
  std::vector<std::vector<uint32_t>> trace;
  for (int i = 0; i < 16; ++i) trace.push_back(random_keys(random, 400, 4000));
  auto options = options_of(512, 100);
  add_victim_buffer(options, folder, 300, 100);
  options.longest_group = 1;
  const TierStatistics alone = run(table, options, trace, 8);
  options.longest_group = 8;
  const TierStatistics together = run(table, options, trace, 8);
  CHECK_EQUAL(alone.sweeps, uint64_t{16});
  CHECK(together.sweeps <= 4);
  CHECK(together.master_bytes * 2 < alone.master_bytes);
  CHECK(together.ahead_rows > 0);
  CHECK_EQUAL(alone.cache_rows, together.cache_rows);
}

TEST(tiered_reader_keeps_rows_of_high_score_whose_next_use_is_unknown) {
  TemporaryFolder folder;
  Table table(100, 64, folder, 1);
  std::vector<std::vector<uint32_t>> trace;
  for (uint32_t i = 0; i < 40; ++i) trace.push_back({i % 2 == 0 ? 1u : 2u, 10 + i, 50 + i});
  TieredReader reader(table.file, table.arena, 100, options_of(64, 2));
  std::vector<uint16_t> scores(100, 1);
  scores[1] = scores[2] = 9;
  reader.set_scores(scores);
  for (uint32_t request = 0; request < trace.size(); ++request) {
    reader.announce(trace[request]);
    Bytes out(3 * 64);
    reader.read(request, out);
    CHECK(out == table.rows(trace[request]));
  }
  CHECK_EQUAL(reader.statistics().cache_rows, uint64_t{38});
}

TEST(tiered_reader_refuses_wrong_calls_and_goes_on) {
  TemporaryFolder folder;
  Table table(100, 64, folder, 1);
  CHECK_THROWS(TieredReader(table.file, table.arena, 101, options_of(64, 2)), InvalidArgument, "101 rows");
  CHECK_THROWS(TieredReader(table.file, table.arena, 100, options_of(0, 2)), InvalidArgument, "0 bytes");
  auto options = options_of(64, 2);
  options.hot_keys = {5, 4};
  CHECK_THROWS(TieredReader(table.file, table.arena, 100, options), InvalidArgument, "ascending");
  TieredReader reader(table.file, table.arena, 100, options_of(64, 2));
  Bytes out(2 * 64);
  CHECK_THROWS(reader.read(0, out), InvalidArgument, "not announced");
  CHECK_THROWS(reader.announce(std::vector<uint32_t>{3, 100}), InvalidArgument, "keys[1] is 100");
  const std::vector<uint32_t> keys{3, 4};
  reader.announce(keys);
  CHECK_THROWS(reader.read(1, out), InvalidArgument, "expected 0");
  CHECK_THROWS(reader.read(0, std::span(out).first(64)), InvalidArgument, "64 bytes");
  reader.read(0, out);
  CHECK(out == table.rows(keys));
}

TEST(tiered_reader_that_failed_says_so) {
  TemporaryFolder folder;
  Table table(1000, 64, folder, 1);
  TieredReader reader(table.file, table.arena, 1000, options_of(64, 2));
  Bytes image = read_file(folder.file("rows.blk"));
  image[4096 + 3] ^= std::byte{1};
  write_file(folder.file("rows.blk"), image);
  const std::vector<uint32_t> keys{0, 999};
  reader.announce(keys);
  reader.announce(keys);
  Bytes out(2 * 64);
  CHECK_THROWS(reader.read(0, out), CorruptFile, "rows.blk");
  CHECK_THROWS(reader.read(1, out), InvalidArgument, "make a new reader");
}

}  // namespace
}  // namespace outcrop::testing
