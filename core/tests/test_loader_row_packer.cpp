#include <algorithm>
#include <cstring>
#include <random>
#include <set>

#include "error.hpp"
#include "io/checksum.hpp"
#include "loader/row_packer.hpp"
#include "tests/check.hpp"
#include "tests/io_files.hpp"

namespace outcrop::testing {
namespace {

using Keys = std::vector<uint32_t>;

// A file of random rows, streams of random keys, and where each stream's rows belong.
struct Problem {
  Problem(uint64_t bytes_of_row, uint64_t count, size_t num_streams, double density, uint64_t seed)
      : row_bytes(bytes_of_row), num_rows(count), rows(random_bytes(bytes_of_row * count, seed)) {
    std::mt19937_64 random(seed);
    std::bernoulli_distribution wanted(density);
    keys.resize(num_streams);
    uint64_t end = 0;
    for (Keys& list : keys) {
      for (uint32_t key = 0; key < num_rows; ++key)
        if (wanted(random)) list.push_back(key);
      const uint64_t offset = round_up_to_block(end) + random() % kBlockBytes;
      offsets.push_back(offset);
      if (!list.empty()) end = offset + list.size() * row_bytes;
    }
    payload_bytes = end;
    write_file(folder.file("rows.blk"), block_file_image("rows", rows));
  }

  std::vector<PackStream> streams() const {
    std::vector<PackStream> streams;
    for (size_t s = 0; s < keys.size(); ++s) streams.push_back({keys[s], offsets[s]});
    return streams;
  }

  std::shared_ptr<BlockFile> open(const std::string& name) const {
    return BlockFile::open(BlockReader::open({.kind = ReaderKind::pread}), folder.file(name));
  }

  // The whole file, data and checksums, as one that was written from front to back; without the header.
  Bytes expected() const {
    Bytes payload(payload_bytes);
    for (size_t s = 0; s < keys.size(); ++s)
      for (size_t i = 0; i < keys[s].size(); ++i)
        std::memcpy(payload.data() + offsets[s] + i * row_bytes, rows.data() + keys[s][i] * row_bytes, row_bytes);
    Bytes image = block_file_image("log", payload);
    image.erase(image.begin(), image.begin() + kBlockBytes);
    return image;
  }

  Bytes packed() const {
    Bytes image = read_file(folder.file("log.blk"));
    image.erase(image.begin(), image.begin() + kBlockBytes);
    return image;
  }

  TemporaryFolder folder;
  uint64_t row_bytes, num_rows;
  Bytes rows;
  std::vector<Keys> keys;
  std::vector<uint64_t> offsets;
  uint64_t payload_bytes = 0;
};

PackUsage pack(const Problem& problem, uint64_t memory_bytes) {
  const auto file = problem.open("rows.blk");
  ExtentFile target(problem.folder.file("log.blk"), problem.payload_bytes, false);
  return pack_rows({*file, problem.row_bytes, problem.num_rows}, problem.streams(), target,
                   {.memory_bytes = memory_bytes}, 0, {}, {});
}

TEST(packed_rows_lie_where_their_stream_wants_them_whatever_the_row_width) {
  for (const uint64_t row_bytes : {4u, 20u, 512u, 1000u, 4096u, 5000u, 34000u}) {
    const Problem problem(row_bytes, 40'000 / row_bytes + 300, 7, 0.3, row_bytes);
    for (const uint64_t memory_bytes : {uint64_t{8} << 20, least_pack_memory(7, row_bytes)}) {
      const PackUsage usage = pack(problem, memory_bytes);
      CHECK(problem.packed() == problem.expected());
      size_t rows = 0;
      for (const Keys& keys : problem.keys) rows += keys.size();
      CHECK_EQUAL(usage.rows, rows);
    }
  }
}

TEST(a_small_memory_packs_many_streams_and_writes_more_runs) {
  const Problem problem(256, 20'000, 60, 0.2, 11);
  const PackUsage roomy = pack(problem, 128 << 20);
  CHECK(problem.packed() == problem.expected());
  const PackUsage tight = pack(problem, least_pack_memory(60, 256));
  CHECK(problem.packed() == problem.expected());
  CHECK_EQUAL(roomy.runs, 60u);
  CHECK(tight.runs > 300);
}

TEST(rows_that_nobody_wants_are_not_read) {
  Problem problem(512, 100'000, 2, 0, 5);
  problem.keys = {{10, 11, 90'000}, {90'001}};
  problem.offsets = {100, 4096};
  problem.payload_bytes = 4096 + 512;
  const PackUsage usage = pack(problem, 8 << 20);
  CHECK(problem.packed() == problem.expected());
  CHECK(usage.read_bytes <= 3 * (20 << 10));
}

TEST(streams_without_keys_and_files_without_rows_are_fine) {
  Problem problem(64, 100, 3, 0, 1);
  problem.payload_bytes = 0;
  const PackUsage usage = pack(problem, 1 << 20);
  CHECK_EQUAL(usage.rows, 0u);
  CHECK_EQUAL(usage.reads, 0u);
  CHECK(problem.packed().empty());
}

TEST(a_key_that_repeats_is_stored_as_often) {
  Problem problem(64, 100, 1, 0, 2);
  problem.keys = {{3, 3, 3, 99}};
  problem.payload_bytes = problem.offsets[0] + 4 * 64;
  pack(problem, 1 << 20);
  CHECK(problem.packed() == problem.expected());
}

struct Killed {};

// Dies at its n-th checkpoint and goes on from there with another process's eyes: only the file and the key are left.
void pack_with_death_at(const Problem& problem, uint64_t deaths_at, uint64_t row_bytes) {
  uint64_t durable = 0;
  for (int life = 0;; ++life) {
    const auto file = problem.open("rows.blk");
    ExtentFile target(problem.folder.file("log.blk"), problem.payload_bytes, life > 0);
    uint64_t checkpoints = 0;
    try {
      pack_rows({*file, row_bytes, problem.num_rows}, problem.streams(), target,
                {.memory_bytes = least_pack_memory(5, row_bytes), .checkpoint_bytes = 100'000}, durable, {},
                [&](uint64_t key) {
                  CHECK(key > durable);
                  durable = key;
                  if (++checkpoints == deaths_at) throw Killed();
                });
      CHECK(life > 0);
      return;
    } catch (const Killed&) {
    }
  }
}

TEST(packing_that_dies_at_a_checkpoint_goes_on_from_it) {
  for (const uint64_t row_bytes : {12u, 600u, 5000u}) {
    const Problem problem(row_bytes, 2'000'000 / row_bytes, 5, 0.25, row_bytes + 1);
    for (const uint64_t deaths_at : {1u, 2u, 5u}) {
      pack_with_death_at(problem, deaths_at, row_bytes);
      CHECK(problem.packed() == problem.expected());
    }
  }
}

// What lies behind the checkpoint may have been written in part before the death.
TEST(bytes_written_behind_the_last_checkpoint_do_no_harm) {
  const Problem problem(600, 3000, 5, 0.25, 77);
  const auto file = problem.open("rows.blk");
  uint64_t durable = 0;
  {
    ExtentFile target(problem.folder.file("log.blk"), problem.payload_bytes, false);
    const auto note = [&](uint64_t key) { durable = durable == 0 ? key : durable; };
    pack_rows({*file, 600, 3000}, problem.streams(), target, {.memory_bytes = 1 << 20, .checkpoint_bytes = 200'000}, 0,
              {}, note);
  }
  CHECK(durable > 0 && durable < 3000);
  ExtentFile target(problem.folder.file("log.blk"), problem.payload_bytes, true);
  pack_rows({*file, 600, 3000}, problem.streams(), target, {.memory_bytes = 1 << 20}, durable, {}, {});
  CHECK(problem.packed() == problem.expected());
}

TEST(rows_distributed_to_groups_and_then_to_streams_are_the_same) {
  const Problem problem(300, 4000, 12, 0.2, 21);
  const auto streams = problem.streams();
  std::vector<Keys> unions;
  std::vector<PackStream> groups;
  uint64_t end = 0;
  for (size_t first = 0; first < 12; first += 4) {
    const auto group = std::span(streams).subspan(first, 4);
    std::set<uint32_t> expected;
    for (const auto& stream : group) expected.insert(stream.keys.begin(), stream.keys.end());
    Keys keys(union_of_keys(group, {}));
    CHECK_EQUAL(union_of_keys(group, keys), keys.size());
    CHECK(std::equal(keys.begin(), keys.end(), expected.begin(), expected.end()));
    unions.push_back(std::move(keys));
  }
  for (const Keys& keys : unions) {
    groups.push_back({keys, end});
    end = round_up_to_block(end + keys.size() * 300);
  }
  const auto rows = problem.open("rows.blk");
  {
    ExtentFile runs(problem.folder.file("runs.blk"), groups[2].offset + unions[2].size() * 300, false);
    pack_rows({*rows, 300, 4000}, groups, runs, {.memory_bytes = 1 << 20}, 0, {}, {});
  }
  Bytes image = read_file(problem.folder.file("runs.blk"));
  const Bytes payload(image.begin() + 4096,
                      image.begin() + ptrdiff_t(4096 + groups[2].offset + unions[2].size() * 300));
  write_file(problem.folder.file("runs.blk"), block_file_image("runs", payload));

  const auto runs = problem.open("runs.blk");
  ExtentFile target(problem.folder.file("log.blk"), problem.payload_bytes, false);
  for (size_t g = 0; g < 3; ++g)
    pack_rows({*runs, 300, unions[g].size(), groups[g].offset, unions[g]}, std::span(streams).subspan(4 * g, 4), target,
              {.memory_bytes = 1 << 20}, 0, {}, {});
  CHECK(problem.packed() == problem.expected());
}

TEST(the_table_crc_is_that_of_the_written_table) {
  const Problem problem(300, 4000, 3, 0.2, 22);
  pack(problem, 1 << 20);
  const ExtentFile target(problem.folder.file("log.blk"), problem.payload_bytes, true);
  const Bytes image = problem.packed();
  const uint64_t num_blocks = target.num_data_blocks();
  CHECK_EQUAL(target.table_crc(), crc32c(0, image.data() + num_blocks * kBlockBytes, 4 * num_blocks));
}

TEST(keys_that_descend_or_are_not_in_the_source_are_refused) {
  Problem problem(64, 100, 1, 0, 3);
  problem.payload_bytes = 64 * 10 + 4096;
  problem.keys = {{5, 4}};
  CHECK_THROWS(pack(problem, 1 << 20), InvalidArgument, "do not ascend");
  problem.keys = {{100}};
  CHECK_THROWS(pack(problem, 1 << 20), InvalidArgument, "wants row 100, expected less than 100");
  problem.keys = {{1}};
  CHECK_THROWS(pack(problem, 1000), ResourceExhausted, "of memory, 1000 were given");
  const Keys held = {1, 3}, wanted = {2};
  const PackStream stream{wanted, 0};
  const auto file = problem.open("rows.blk");
  ExtentFile target(problem.folder.file("log.blk"), 64, false);
  CHECK_THROWS(pack_rows({*file, 64, 2, 0, held}, {&stream, 1}, target, {.memory_bytes = 1 << 20}, 0, {}, {}),
               InvalidArgument, "row 2 is wanted and not in the source");
}

TEST(a_damaged_source_and_a_short_target_end_the_packing) {
  Problem problem(512, 2000, 2, 0.5, 9);
  Bytes image = block_file_image("rows", problem.rows);
  image[4096 * 20] ^= std::byte{1};
  write_file(problem.folder.file("rows.blk"), image);
  CHECK_THROWS(pack(problem, 1 << 20), CorruptFile, "rows.blk: block 20");
  write_file(problem.folder.file("rows.blk"), block_file_image("rows", problem.rows));
  problem.payload_bytes /= 2;
  CHECK_THROWS(pack(problem, 1 << 20), InvalidArgument, "passes the end of the payload");
}

}  // namespace
}  // namespace outcrop::testing
