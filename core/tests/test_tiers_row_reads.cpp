#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>

#include "error.hpp"
#include "io/page_buffer.hpp"
#include "tests/check.hpp"
#include "tests/io_faults.hpp"
#include "tests/io_files.hpp"
#include "tiers/row_reads.hpp"

namespace outcrop::testing {
namespace {

struct Fixture {
  TemporaryFolder folder;
  Bytes payload = random_bytes(3000 * kBlockBytes + 100, 5);
  std::shared_ptr<BlockReader> reader;
  std::shared_ptr<BlockFile> file;

  explicit Fixture(const ReaderOptions& options = {}) : reader(BlockReader::open(options)) {
    write_file(folder.file("log.blk"), block_file_image("log", payload));
    file = BlockFile::open(reader, folder.file("log.blk"));
  }
};

// Reads into a tensor of ones and compares every byte, those between the extents included.
void check_reads(const Fixture& f, const std::vector<RowExtent>& extents, const MasterRows& master, size_t out_bytes) {
  const PageBuffer tensor(out_bytes);
  std::memset(tensor.data(), 1, tensor.size());
  Bytes expected(tensor.size(), std::byte{1});
  for (const RowExtent& extent : extents)
    std::copy_n(f.payload.begin() + ptrdiff_t(extent.offset), extent.bytes,
                expected.begin() + ptrdiff_t(extent.out_offset));
  for (size_t i = 0; i < master.rows.size(); ++i)
    std::copy_n(f.payload.begin() + ptrdiff_t(master.keys[i] * master.row_bytes), master.row_bytes,
                expected.begin() + ptrdiff_t(master.rows[i] * master.row_bytes));
  RowReads reads(f.reader, 0);
  reads.add(9, place_reads(extents, master, tensor.size()), tensor.data());
  std::vector<uint64_t> finished;
  while (!reads.idle())
    for (const uint64_t tag : reads.pump()) finished.push_back(tag);
  CHECK(finished == std::vector<uint64_t>{9});
  CHECK(std::memcmp(tensor.data(), expected.data(), expected.size()) == 0);
}

TEST(extents_of_any_place_and_length_arrive_and_touch_nothing_else) {
  const Fixture f;
  std::mt19937_64 random(11);
  for (const uint64_t bytes : {1, 100, 4095, 4096, 4097, 8192, 12287, 300000, 1 << 20, 3000001})
    for (const uint64_t place : {0, 1, 4095})
      for (const uint64_t shift : {0, 17}) {
        const uint64_t offset = (random() % 100) * kBlockBytes + place;
        const uint64_t out = (random() % 3) * kBlockBytes + (place + shift) % kBlockBytes;
        check_reads(f, {{f.file.get(), offset, out, bytes}}, {}, out + bytes + 5000);
      }
}

TEST(extents_that_meet_within_a_block_of_the_tensor_do_not_overwrite_each_other) {
  const Fixture f;
  const BlockFile* file = f.file.get();
  check_reads(f, {{file, 0, 0, 5000}, {file, 8192 + 904, 5000, 6000}, {file, 40960 + 2808, 11000, 10}}, {}, 20000);
}

TEST(the_last_block_of_a_file_is_read_in_part) {
  const Fixture f;
  check_reads(f, {{f.file.get(), 2999 * kBlockBytes, 0, kBlockBytes + 100}}, {}, 2 * kBlockBytes);
}

TEST(aligned_blocks_are_read_in_place_and_edges_are_copied) {
  const Fixture f;
  const std::vector<RowExtent> extents = {{f.file.get(), 100, 100, 3 * kBlockBytes}};
  const auto reads = place_reads(extents, {}, 1 << 20);
  REQUIRE(reads.size() == 3);
  CHECK_EQUAL(reads[0].copies.size(), size_t{1});
  CHECK(reads[1].copies.empty());
  CHECK_EQUAL(reads[1].blocks.num_blocks, uint64_t{2});
  CHECK_EQUAL(reads[1].out_offset, uint64_t{4096});
  CHECK_EQUAL(reads[2].copies[0].bytes, uint64_t{100});
}

TEST(rows_of_a_feature_file_come_merged_and_in_any_order) {
  const Fixture f;
  std::mt19937_64 random(12);
  for (const uint64_t row_bytes : {4, 100, 512, 4096, 5000, 34000, 300000}) {
    const uint64_t num_keys = f.payload.size() / row_bytes;
    std::vector<uint32_t> keys, rows;
    for (uint32_t i = 0; i < 30; ++i) keys.push_back(uint32_t(random() % num_keys)), rows.push_back(i);
    keys[3] = keys[17];
    std::ranges::shuffle(rows, random);
    check_reads(f, {}, {f.file.get(), row_bytes, 8192, rows, keys}, 30 * row_bytes);
  }
  const std::vector<uint32_t> rows = {0, 1, 2}, keys = {1, 3, 2};
  CHECK_EQUAL(place_reads({}, {f.file.get(), 512, 0, rows, keys}, 4096).size(), size_t{1});
}

TEST(what_leaves_the_file_or_the_tensor_is_refused) {
  const Fixture f;
  const auto place = [&](RowExtent extent) { return place_reads({&extent, 1}, {}, 8192); };
  CHECK_THROWS(place({f.file.get(), 0, 0, 8193}), InvalidArgument, "does not fit");
  CHECK_THROWS(place({f.file.get(), 0, 8193, 0}), InvalidArgument, "does not fit");
  CHECK_THROWS(place({f.file.get(), f.payload.size() - 1, 0, 2}), InvalidArgument, "pass the payload's end");
  const std::vector<uint32_t> one = {0}, far = {uint32_t(f.payload.size() / 512)};
  CHECK_THROWS(place_reads({}, {f.file.get(), 512, 0, one, far}, 8192), InvalidArgument, "pass the payload's end");
  const auto other = BlockFile::open(BlockReader::open({}), f.folder.file("log.blk"));
  const RowExtent extent{other.get(), 0, 0, 4096};
  const PageBuffer tensor(8192);
  RowReads reads(f.reader, 0);
  CHECK_THROWS(reads.add(0, place_reads({&extent, 1}, {}, 8192), tensor.data()), InvalidArgument, "another reader");
}

TEST(jobs_are_started_in_order_but_urgent_ones_first) {
  auto faults = std::make_shared<Faults>();
  std::atomic<int> answers{0};
  faults->on_answer = [&](uint32_t, std::byte*, int64_t result) { return ++answers, result; };
  const Fixture f({.kind = ReaderKind::pread, .queue_depth = 1, .num_threads = 1, .faults = faults});
  const PageBuffer tensor(1 << 20);
  RowReads reads(f.reader, 0);
  const auto add = [&](uint64_t tag, bool urgent) {
    const RowExtent extent{f.file.get(), tag * kBlockBytes, tag * kBlockBytes, kBlockBytes};
    reads.add(tag, place_reads({&extent, 1}, {}, 1 << 20), tensor.data(), urgent);
  };
  add(1, false), add(2, false), add(3, true);
  reads.add(4, {}, tensor.data());
  std::vector<uint64_t> order;
  while (!reads.idle())
    for (const uint64_t tag : reads.pump()) order.push_back(tag);
  CHECK(order == (std::vector<uint64_t>{4, 3, 1, 2}));
  CHECK_EQUAL(reads.counts().reads, uint64_t{3});
  CHECK_EQUAL(reads.counts().bytes, uint64_t{3 * kBlockBytes});
}

TEST(an_error_leaves_nothing_in_flight_behind) {
  auto faults = std::make_shared<Faults>();
  std::atomic<int> answers{0};
  faults->on_answer = [&](uint32_t, std::byte* buffer, int64_t result) {
    if (++answers == 2) buffer[7] ^= std::byte{1};
    return result;
  };
  const Fixture f({.faults = faults});
  answers = 0;
  const PageBuffer tensor(8 << 20);
  const RowExtent extent{f.file.get(), 0, 0, 8 << 20};
  RowReads reads(f.reader, 0);
  reads.add(0, place_reads({&extent, 1}, {}, 8 << 20), tensor.data());
  const auto drain = [&] {
    while (!reads.idle()) reads.pump();
  };
  CHECK_THROWS(drain(), CorruptFile, "log.blk: block");
}

}  // namespace
}  // namespace outcrop::testing
