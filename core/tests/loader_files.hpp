// A small plan for the tests of tiers and loader: rows that can be recomputed, minibatches with hits, misses and
// inserts decided by a cache that replaces at random, and the files a loader reads. Shares no code with what it tests.
#pragma once

#include <memory>
#include <vector>

#include "io/block_file.hpp"
#include "loader/feed.hpp"
#include "tests/io_files.hpp"

namespace outcrop::testing {

struct TestStream {
  size_t row_bytes;
  size_t num_keys;
  size_t num_slots;
};

// One minibatch's share of a stream.
struct TestRecipe {
  std::vector<uint32_t> keys;  // of each row
  std::vector<RowExtent> extents;
  std::vector<uint32_t> hit_rows, hit_slots, master_rows, master_keys, insert_rows, insert_slots;

  Recipe view() const {
    return {keys.size(), extents, hit_rows, hit_slots, master_rows, master_keys, insert_rows, insert_slots};
  }
};

struct TestPlanOptions {
  std::vector<TestStream> streams;
  size_t num_minibatches = 12;
  size_t rows_per_segment = 40;
  size_t num_segments = 3;
  bool congruent = true;  // logs are laid out for reads in place
  uint64_t seed = 1;
};

class TestPlan {
 public:
  TestPlan(const TestPlanOptions& options, const ReaderOptions& reader_options);

  const TestPlanOptions options;
  TemporaryFolder folder;
  std::shared_ptr<BlockReader> reader;
  std::vector<Bytes> tables;                              // by stream: row k at k * row_bytes
  std::vector<std::vector<TestRecipe>> minibatches;       // [minibatch][stream]
  std::vector<std::shared_ptr<BlockFile>> logs, masters;  // by stream
  std::shared_ptr<BlockFile> records;
  std::vector<uint64_t> max_rows;  // by stream

  Bytes record(size_t minibatch) const;                        // 4096 or 8192 bytes that tell its number
  Bytes expected_rows(size_t minibatch, size_t stream) const;  // coded
  std::unique_ptr<Feed> feed() const;                          // the plan must outlive it
  std::string log_path(size_t stream) const;

 private:
  void add_stream(size_t stream, const ReaderOptions& reader_options);
};

}  // namespace outcrop::testing
