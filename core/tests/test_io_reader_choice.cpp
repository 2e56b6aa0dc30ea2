// Which reader is taken, what is told about it, and what happens when the kernel refuses parts of io_uring.
#include <cstdlib>
#include <cstring>

#include "error.hpp"
#include "io/block_reader.hpp"
#include "io/buffer_arena.hpp"
#include "tests/check.hpp"
#include "tests/io_faults.hpp"
#include "tests/io_files.hpp"

namespace outcrop::testing {
namespace {

struct Environment {
  explicit Environment(const char* value) {
    if (const char* before = std::getenv(kName)) before_ = before;
    ::setenv(kName, value, 1);
  }
  ~Environment() { ::setenv(kName, before_.c_str(), 1); }  // empty counts as unset

 private:
  static constexpr const char* kName = "OUTCROP_READER";
  std::string before_;
};

// Reads 16 blocks, 4 at a time, and returns the number that arrived whole.
int read_some(BlockReader& reader, const std::string& path, BufferArena* registered = nullptr) {
  BufferArena own(16 * kBlockBytes);
  BufferArena& arena = registered != nullptr ? *registered : own;
  const Bytes content = read_file(path);
  const auto queue = reader.make_queue(registered);
  const uint32_t file = reader.add_file(path);
  int good = 0;
  for (uint64_t block = 0; block < 16; block += 4) {
    std::vector<ReadRequest> requests;
    for (uint64_t i = 0; i < 4; ++i)
      requests.push_back({file, (block + i) * kBlockBytes, kBlockBytes, arena.base() + i * kBlockBytes, i});
    queue->submit(requests);
    std::vector<ReadCompletion> completions(4);
    CHECK_EQUAL(queue->wait(4, completions), size_t{4});
    for (const auto& c : completions)
      good += c.error == 0 && std::memcmp(requests[c.tag].buffer, content.data() + requests[c.tag].offset, 4096) == 0;
  }
  return good;
}

struct Fixture {
  TemporaryFolder folder;
  std::string path = folder.file("data");
  std::shared_ptr<Faults> faults = std::make_shared<Faults>();
  Fixture() { write_file(path, random_bytes(16 * kBlockBytes, 3)); }
};

TEST(automatic_choice_takes_pread_where_io_uring_is_refused_and_says_why) {
  Environment environment("");
  Fixture f;
  f.faults->setup = EPERM;
  const auto reader = BlockReader::open({.faults = f.faults});
  CHECK(reader->kind() == ReaderKind::pread);
  CHECK(reader->reason().find("io_uring") != std::string::npos);
  CHECK(reader->reason().find("; using pread") != std::string::npos);
  if (io_uring_works())
    CHECK_EQUAL(reader->reason(), std::string("io_uring: setup refused: Operation not permitted; using pread"));
  CHECK_EQUAL(read_some(*reader, f.path), 16);
}

TEST(asking_for_io_uring_where_it_is_refused_fails) {
  Fixture f;
  f.faults->setup = ENOSYS;
  CHECK_THROWS(BlockReader::open({.kind = ReaderKind::io_uring, .faults = f.faults}), StorageFailure, "io_uring:");
}

TEST(the_environment_overrides_the_automatic_choice_alone) {
  Environment environment("memory");
  const auto automatic = BlockReader::open();
  CHECK(automatic->kind() == ReaderKind::memory);
  CHECK_EQUAL(automatic->reason(), std::string("OUTCROP_READER=memory"));
  CHECK(BlockReader::open({.kind = ReaderKind::pread})->kind() == ReaderKind::pread);
}

TEST(options_out_of_range_are_refused) {
  Environment environment("floppy");
  CHECK_THROWS(BlockReader::open(), InvalidArgument, "got 'floppy'");
  CHECK_THROWS(BlockReader::open({.queue_depth = 0}), InvalidArgument, "queue_depth must be 1 to 4096, got 0");
  CHECK_THROWS(BlockReader::open({.num_threads = 257}), InvalidArgument, "num_threads must be 1 to 256, got 257");
}

TEST(a_file_system_that_refuses_o_direct_is_read_through_the_page_cache_and_noted) {
  for (ReaderKind kind : {ReaderKind::io_uring, ReaderKind::pread}) {
    if (kind == ReaderKind::io_uring && !io_uring_works()) continue;
    Fixture f;
    f.faults->direct = EINVAL;
    const auto reader = BlockReader::open({.kind = kind, .faults = f.faults});
    CHECK_EQUAL(read_some(*reader, f.path), 16);
    REQUIRE(reader->notes().size() == 1);
    CHECK(reader->notes()[0].find("refuses O_DIRECT") != std::string::npos);
  }
}

TEST(files_that_cannot_be_opened_are_storage_failures) {
  Fixture f;
  for (ReaderKind kind : {ReaderKind::pread, ReaderKind::memory}) {
    const auto reader = BlockReader::open({.kind = kind});
    CHECK_THROWS(reader->add_file(f.folder.file("none")), StorageFailure, "none: No such file");
    CHECK_THROWS(reader->add_file(f.folder.file("")), StorageFailure, "Is a directory");
  }
}

TEST(reads_work_without_registered_buffers_and_that_is_noted) {
  if (!io_uring_works()) return;
  Fixture f;
  BufferArena arena(8 * kBlockBytes);
  f.faults->registration = ENOMEM;
  const auto reader = BlockReader::open({.kind = ReaderKind::io_uring, .faults = f.faults});
  CHECK_EQUAL(read_some(*reader, f.path, &arena), 16);
  REQUIRE(reader->notes().size() == 1);
  CHECK_EQUAL(reader->notes()[0],
              std::string("io_uring: registered buffers refused: Cannot allocate memory; plain reads"));
}

TEST(a_submission_that_is_interrupted_or_put_off_is_tried_again) {
  if (!io_uring_works()) return;
  for (int error : {EINTR, EAGAIN, EBUSY}) {
    Fixture f;
    f.faults->on_submission = [error, n = 0]() mutable { return ++n % 3 == 0 ? 0 : error; };
    const auto reader = BlockReader::open({.kind = ReaderKind::io_uring, .faults = f.faults});
    CHECK_EQUAL(read_some(*reader, f.path), 16);
  }
}

TEST(requests_that_the_ring_does_not_take_complete_with_its_errno) {
  if (!io_uring_works()) return;
  Fixture f;
  const auto reader = BlockReader::open({.kind = ReaderKind::io_uring, .queue_depth = 4, .faults = f.faults});
  f.faults->on_submission = [n = 0]() mutable { return ++n == 1 ? 0 : ENXIO; };
  CHECK_EQUAL(read_some(*reader, f.path), 4);  // the first four; then, as often as asked, errors
  CHECK_EQUAL(reader->statistics().errors, uint64_t{12});
}

TEST(idle_queues_are_used_again) {
  Fixture f;
  const auto reader = BlockReader::open({.kind = ReaderKind::pread, .num_threads = 1});
  auto queue = reader->take_queue();
  const ReadQueue* first = queue.get();
  reader->give_back(std::move(queue));
  CHECK(reader->take_queue().get() == first);
}

}  // namespace
}  // namespace outcrop::testing
