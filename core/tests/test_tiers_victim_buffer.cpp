#include <atomic>
#include <cstring>
#include <map>
#include <random>

#include "error.hpp"
#include "tests/check.hpp"
#include "tests/io_files.hpp"
#include "tiers/victim_buffer.hpp"

namespace outcrop::testing {
namespace {

using Rows = std::map<uint32_t, Bytes>;

Bytes row_of(uint32_t key, uint32_t version, size_t row_bytes) {
  Bytes row(row_bytes);
  for (size_t i = 0; i < row_bytes; ++i) row[i] = static_cast<std::byte>(key * 31 + version * 7 + i);
  return row;
}

Rows take_all(VictimBuffer& buffer, uint32_t request) {
  Rows rows;
  buffer.take(request, [&](std::span<const uint32_t> keys, const std::byte* data) {
    for (size_t i = 0; i < keys.size(); ++i) {
      const std::byte* row = data + i * buffer.row_bytes();
      if (!rows.emplace(keys[i], Bytes(row, row + buffer.row_bytes())).second)
        record_failure(__FILE__, __LINE__, "key " + std::to_string(keys[i]) + " came twice");
    }
  });
  return rows;
}

VictimBufferOptions options_of(const TemporaryFolder& folder, uint64_t row_bytes, uint64_t buffers, uint64_t extents) {
  VictimBufferOptions options;
  options.row_bytes = row_bytes;
  options.extent_bytes = 8192;  // small, so that little data fills many
  const uint64_t extent_bytes = VictimBuffer::extent_bytes_for(row_bytes, options.extent_bytes);
  options.memory_bytes = buffers * extent_bytes;
  options.disk_bytes = extents * extent_bytes;
  options.folder = folder.file(".");
  return options;
}

TEST(victim_buffer_gives_each_request_its_rows_once) {
  TemporaryFolder folder;
  VictimBuffer buffer(options_of(folder, 100, 8, 0));
  CHECK(buffer.put(3, 17, row_of(17, 0, 100).data()));
  CHECK(buffer.put(5, 17, row_of(17, 1, 100).data()));
  CHECK(buffer.put(3, 4, row_of(4, 0, 100).data()));
  CHECK_EQUAL(buffer.rows_of(3), uint64_t{2});
  CHECK((take_all(buffer, 3) == Rows{{4, row_of(4, 0, 100)}, {17, row_of(17, 0, 100)}}));
  CHECK_EQUAL(buffer.rows_of(3), uint64_t{0});
  CHECK(take_all(buffer, 4).empty());
  CHECK((take_all(buffer, 5) == Rows{{17, row_of(17, 1, 100)}}));
  CHECK_EQUAL(buffer.statistics().memory_bytes, uint64_t{0});
}

TEST(victim_buffer_refuses_rows_for_a_request_that_has_passed) {
  TemporaryFolder folder;
  VictimBuffer buffer(options_of(folder, 8, 8, 0));
  take_all(buffer, 6);
  CHECK_THROWS(buffer.put(6, 1, row_of(1, 0, 8).data()), InvalidArgument, "7 comes next");
  CHECK_THROWS(take_all(buffer, 2), InvalidArgument, "passed over");
  CHECK_THROWS(buffer.put(3'000'000, 1, row_of(1, 0, 8).data()), InvalidArgument, "ahead");
}

TEST(victim_buffer_drops_inboxes_that_nobody_asked_for) {
  TemporaryFolder folder;
  VictimBuffer buffer(options_of(folder, 1000, 8, 50));
  for (uint32_t key = 0; key < 200; ++key) CHECK(buffer.put(key % 4, key, row_of(key, 0, 1000).data()));
  CHECK_EQUAL(take_all(buffer, 3).size(), size_t{50});
  const VictimStatistics statistics = buffer.statistics();
  CHECK_EQUAL(statistics.rows_dropped, uint64_t{150});
  CHECK_EQUAL(statistics.rows_waiting, uint64_t{0});
  CHECK_EQUAL(statistics.memory_bytes, uint64_t{0});
  CHECK_EQUAL(statistics.disk_bytes, uint64_t{0});
}

TEST(victim_buffer_without_disk_keeps_what_fits_and_refuses_the_rest) {
  TemporaryFolder folder;
  VictimBuffer buffer(options_of(folder, 500, 6, 0));
  Rows kept;
  for (uint32_t key = 0; key < 500; ++key)
    if (buffer.put(1, key, row_of(key, 0, 500).data())) kept.emplace(key, row_of(key, 0, 500));
  CHECK_EQUAL(kept.size(), size_t{4 * 16});  // two of six buffers are kept for reading
  CHECK_EQUAL(buffer.statistics().rows_refused, uint64_t{500} - kept.size());
  CHECK(take_all(buffer, 1) == kept);
  CHECK(buffer.put(2, 7, row_of(7, 0, 500).data()));
}

TEST(victim_buffer_writes_the_farthest_request_first_and_reads_it_back_in_runs) {
  TemporaryFolder folder;
  VictimBuffer buffer(options_of(folder, 500, 64, 1000));
  const uint32_t per_request = 1600;
  for (uint32_t key = 0; key < per_request; ++key)
    for (uint32_t request = 0; request < 4; ++request)
      CHECK(buffer.put(request, key, row_of(key, request, 500).data()));
  for (uint32_t request = 0; request < 4; ++request) {
    if (request > 0) buffer.prefetch(request);
    const Rows rows = take_all(buffer, request);
    CHECK_EQUAL(rows.size(), size_t{per_request});
    for (const auto& [key, row] : rows) CHECK(row == row_of(key, request, 500));
  }
  const VictimStatistics statistics = buffer.statistics();
  CHECK(statistics.rows_from_disk > 0);
  CHECK(statistics.reads < statistics.bytes_read / buffer.extent_bytes());  // some of more than one extent
  CHECK_EQUAL(statistics.disk_bytes, uint64_t{0});
  CHECK(statistics.peak_memory_bytes <= 64 * uint64_t{buffer.extent_bytes()});
}

// Against a plain map, over row widths and budgets: what was accepted comes back as it was, once, and budgets hold.
TEST(victim_buffer_behaves_as_a_map_of_maps) {
  const unsigned seed = std::random_device{}();
  std::mt19937 random(seed);
  for (const uint64_t row_bytes : {1, 4, 34, 512, 4096, 34'000}) {
    for (const auto& [buffers, extents] : {std::pair{4u, 0u}, {4u, 6u}, {12u, 40u}, {40u, 1u}}) {
      TemporaryFolder folder;
      VictimBuffer buffer(options_of(folder, row_bytes, buffers, extents));
      const uint64_t extent_bytes = buffer.extent_bytes();
      std::map<uint32_t, Rows> model;
      uint32_t now = 0;
      uint64_t found = 0, accepted = 0;
      const uint64_t steps = std::min<uint64_t>(20'000, 100 * extent_bytes / row_bytes);
      for (uint64_t step = 0; step < steps; ++step) {
        const uint32_t request = now + static_cast<uint32_t>(random() % 6), key = static_cast<uint32_t>(random());
        if (!model[request].contains(key) && buffer.put(request, key, row_of(key, request, row_bytes).data())) {
          model[request].emplace(key, row_of(key, request, row_bytes));
          ++accepted;
        }
        if (random() % (steps / 20) != 0) continue;
        if (random() % 4 == 0) model.erase(now++);  // passed over
        if (random() % 2 == 0) buffer.prefetch(now);
        if (random() % 4 == 0) buffer.prefetch(now + 2);
        const Rows rows = take_all(buffer, now);
        if (rows != model[now])
          record_failure(__FILE__, __LINE__, "another inbox than the model's; seed " + std::to_string(seed));
        found += rows.size();
        model.erase(now++);
        const VictimStatistics statistics = buffer.statistics();
        CHECK(statistics.peak_memory_bytes <= buffers * extent_bytes);
        CHECK(statistics.peak_disk_bytes <= extents * extent_bytes);
      }
      const VictimStatistics statistics = buffer.statistics();
      CHECK_EQUAL(statistics.rows_put, accepted);
      CHECK_EQUAL(statistics.rows_taken, found);
      CHECK_EQUAL(statistics.rows_put, statistics.rows_taken + statistics.rows_dropped + statistics.rows_waiting);
      if (found == 0) record_failure(__FILE__, __LINE__, "nothing was ever found; seed " + std::to_string(seed));
    }
  }
}

// Puts rows of several requests until some are on disk.
void fill(VictimBuffer& buffer) {
  for (uint32_t key = 0; key < 400; ++key)
    for (uint32_t request = 0; request < 4; ++request) buffer.put(request, key, row_of(key, 0, 500).data());
}

void take_four(VictimBuffer& buffer) {
  for (uint32_t request = 0; request < 4; ++request) take_all(buffer, request);
}

TEST(victim_buffer_finds_a_byte_that_changed_on_disk) {
  TemporaryFolder folder;
  auto options = options_of(folder, 500, 16, 1000);
  options.faults.after_read = [](uint64_t, std::byte* data, size_t bytes) { data[bytes - 1] ^= std::byte{1}; };
  VictimBuffer buffer(options);
  fill(buffer);
  CHECK_THROWS(take_four(buffer), CorruptFile, "checksum");
  CHECK_THROWS(take_four(buffer), Error, "");  // and stays broken
}

TEST(victim_buffer_finds_an_extent_that_was_never_written) {
  TemporaryFolder folder;
  auto options = options_of(folder, 500, 16, 1000);
  options.faults.after_read = [](uint64_t, std::byte* data, size_t bytes) { std::memset(data, 0, bytes); };
  VictimBuffer buffer(options);
  fill(buffer);
  CHECK_THROWS(take_four(buffer), CorruptFile, "scratch file in " + folder.file("."));
}

TEST(victim_buffer_says_that_the_disk_refused) {
  TemporaryFolder folder;
  auto options = options_of(folder, 500, 16, 1000);
  auto writes = std::make_shared<std::atomic<int>>(0);
  options.faults.write_error = [writes] { return ++*writes > 3 ? EIO : 0; };
  VictimBuffer buffer(options);
  CHECK_THROWS((fill(buffer), take_four(buffer)), StorageFailure, "write at offset");
}

TEST(victim_buffer_can_be_closed_with_writes_and_reads_under_way) {
  for (int round = 0; round < 20; ++round) {
    TemporaryFolder folder;
    VictimBuffer buffer(options_of(folder, 500, 16, 1000));
    fill(buffer);
    take_all(buffer, 0);
    buffer.prefetch(2);
  }
}

TEST(victim_buffer_refuses_budgets_that_cannot_work) {
  TemporaryFolder folder;
  CHECK_THROWS(VictimBuffer(options_of(folder, 100, 3, 0)), InvalidArgument, "expected at least 32768");
  CHECK_THROWS(VictimBuffer(options_of(folder, 0, 8, 0)), InvalidArgument, "rows of 0 bytes");
  auto options = options_of(folder, 100, 8, 0);
  options.disk_bytes = 100;
  CHECK_THROWS(VictimBuffer{options}, InvalidArgument, "disk budget of 100 bytes");
}

}  // namespace
}  // namespace outcrop::testing
