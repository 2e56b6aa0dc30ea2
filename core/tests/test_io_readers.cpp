// One suite for every reader: whatever brings the bytes, the bytes, the errors and the counts are the same.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <thread>

#include "error.hpp"
#include "io/block_reader.hpp"
#include "io/buffer_arena.hpp"
#include "tests/check.hpp"
#include "tests/io_faults.hpp"
#include "tests/io_files.hpp"

namespace outcrop::testing {
namespace {

constexpr uint64_t kBlocks = 64;

struct Fixture {
  ReaderKind kind;
  std::shared_ptr<Faults> faults = std::make_shared<Faults>();
  TemporaryFolder folder;
  Bytes content = random_bytes(kBlocks * kBlockBytes, 11);
  std::string path = folder.file("data");
  BufferArena arena{32 * kBlockBytes};
  std::shared_ptr<BlockReader> reader;

  explicit Fixture(ReaderKind of_kind, uint32_t queue_depth = 8) : kind(of_kind) {
    write_file(path, content);
    reader = BlockReader::open({.kind = kind, .queue_depth = queue_depth, .num_threads = 3, .faults = faults});
  }

  ReadRequest request(uint32_t file, uint64_t block, uint32_t num_blocks, size_t place, uint64_t tag) {
    return {file, block * kBlockBytes, num_blocks * kBlockBytes, arena.base() + place * kBlockBytes, tag};
  }

  bool arrived(const ReadRequest& read) const {
    return std::memcmp(read.buffer, content.data() + read.offset, read.length) == 0;
  }

  // Reads blocks [block, block + n) alone and returns its error.
  int read(uint64_t block, uint32_t n) {
    const uint32_t file = reader->add_file(path);
    const auto queue = reader->make_queue(&arena);
    const ReadRequest one = request(file, block, n, 0, 77);
    queue->submit({&one, 1});
    ReadCompletion completion{};
    REQUIRE(queue->wait(1, {&completion, 1}) == 1);
    CHECK_EQUAL(completion.tag, uint64_t{77});
    CHECK_EQUAL(queue->in_flight(), size_t{0});
    if (completion.error == 0) CHECK(arrived(one));
    return completion.error;
  }
};

// Every reader that can be had here.
void for_each_reader(const std::function<void(ReaderKind)>& test) {
  for (ReaderKind kind : {ReaderKind::io_uring, ReaderKind::pread, ReaderKind::memory})
    if (kind != ReaderKind::io_uring || io_uring_works()) test(kind);
}

TEST(the_readers_under_test_are_told) {
  std::string names;
  for_each_reader([&](ReaderKind kind) { names += std::string(" ") + to_string(kind); });
  std::printf("readers under test:%s\n", names.c_str());
  CHECK(names.find("pread memory") != std::string::npos);
}

TEST(every_reader_gives_the_bytes_of_random_reads_many_in_flight) {
  for_each_reader([](ReaderKind kind) {
    Fixture f(kind);
    const uint32_t file = f.reader->add_file(f.path);
    const auto queue = f.reader->make_queue(&f.arena);
    std::mt19937 random(1);
    size_t finished = 0;
    for (int round = 0; round < 50; ++round) {
      std::vector<ReadRequest> requests;
      for (size_t i = 0; i < queue->capacity(); ++i) {
        const uint32_t n = 1 + random() % 4;
        requests.push_back(f.request(file, random() % (kBlocks - n), n, 4 * i, i));
      }
      queue->submit(requests);
      std::vector<ReadCompletion> completions(queue->capacity());
      std::vector<bool> seen(queue->capacity());
      for (size_t n = 0; n < requests.size();) {
        const size_t got = queue->wait(1 + random() % 3, std::span(completions).subspan(n));
        for (size_t i = n; i < n + got; ++i) {
          CHECK_EQUAL(completions[i].error, 0);
          CHECK(!seen.at(completions[i].tag));
          seen[completions[i].tag] = true;
          CHECK(f.arrived(requests[completions[i].tag]));
        }
        n += got, finished += got;
      }
      CHECK_EQUAL(queue->in_flight(), size_t{0});
    }
    CHECK_EQUAL(f.reader->statistics().reads, finished);
    CHECK_EQUAL(f.reader->statistics().errors, uint64_t{0});
  });
}

TEST(every_reader_reads_into_memory_outside_the_registered_arena) {
  for_each_reader([](ReaderKind kind) {
    Fixture f(kind);
    AlignedBuffer buffer(4 * kBlockBytes);
    const auto queue = f.reader->make_queue(&f.arena);
    const ReadRequest request{f.reader->add_file(f.path), 4096, 4 * kBlockBytes, buffer.data, 1};
    queue->submit({&request, 1});
    ReadCompletion completion{};
    REQUIRE(queue->wait(1, {&completion, 1}) == 1);
    CHECK_EQUAL(completion.error, 0);
    CHECK(f.arrived(request));
  });
}

TEST(every_reader_reports_a_read_past_the_end_of_the_file) {
  for_each_reader([](ReaderKind kind) {
    Fixture f(kind);
    CHECK_EQUAL(f.read(kBlocks - 1, 1), 0);
    CHECK_EQUAL(f.read(kBlocks - 1, 2), kEndOfFile);  // one block is there
    CHECK_EQUAL(f.read(kBlocks + 100, 1), kEndOfFile);
    CHECK_EQUAL(f.reader->statistics().errors, uint64_t{2});
  });
}

TEST(every_reader_reports_a_file_that_ends_within_a_block) {
  for_each_reader([](ReaderKind kind) {
    Fixture f(kind);
    f.content.resize(f.content.size() - 1000);
    write_file(f.path, f.content);
    CHECK_EQUAL(f.read(kBlocks - 2, 1), 0);
    CHECK_EQUAL(f.read(kBlocks - 1, 1), kEndOfFile);
    CHECK_EQUAL(f.read(kBlocks - 3, 3), kEndOfFile);
  });
}

TEST(device_readers_report_a_file_that_was_truncated_while_open) {
  for_each_reader([](ReaderKind kind) {
    if (kind == ReaderKind::memory) return;
    Fixture f(kind);
    const uint32_t file = f.reader->add_file(f.path);
    REQUIRE(::truncate(f.path.c_str(), 10 * kBlockBytes + 7) == 0);
    const auto queue = f.reader->make_queue(&f.arena);
    const std::vector<ReadRequest> requests{f.request(file, 9, 1, 0, 0), f.request(file, 9, 2, 1, 1),
                                            f.request(file, 30, 1, 3, 2)};
    queue->submit(requests);
    std::vector<ReadCompletion> completions(3);
    REQUIRE(queue->wait(3, completions) == 3);
    for (const auto& completion : completions) CHECK_EQUAL(completion.error, completion.tag == 0 ? 0 : kEndOfFile);
  });
}

TEST(every_reader_finishes_short_reads) {
  for_each_reader([](ReaderKind kind) {
    Fixture f(kind);
    f.faults->on_answer = [](uint32_t length, std::byte* buffer, int64_t result) -> int64_t {
      if (result < int64_t{length} || length <= kBlockBytes) return result;
      std::memset(buffer + kBlockBytes + 5, 0xee, length - kBlockBytes - 5);  // only these came, the rest is old
      return kBlockBytes + 5;
    };
    CHECK_EQUAL(f.read(3, 6), 0);
    CHECK_EQUAL(f.reader->statistics().short_reads, uint64_t{5});
    CHECK_EQUAL(f.reader->statistics().resubmits, uint64_t{5});
    CHECK_EQUAL(f.reader->statistics().reads, uint64_t{1});
  });
}

TEST(every_reader_tries_again_after_eintr_and_eagain) {
  for (int error : {EINTR, EAGAIN}) {
    for_each_reader([error](ReaderKind kind) {
      Fixture f(kind);
      f.faults->on_answer = [error, n = 0](uint32_t, std::byte*, int64_t result) mutable -> int64_t {
        return ++n % 10 == 0 ? result : -error;
      };
      CHECK_EQUAL(f.read(3, 2), 0);
      CHECK_EQUAL(f.reader->statistics().resubmits, uint64_t{9});
    });
  }
}

TEST(every_reader_gives_up_on_a_device_that_never_delivers) {
  for_each_reader([](ReaderKind kind) {
    Fixture f(kind);
    f.faults->on_answer = [](uint32_t, std::byte*, int64_t) -> int64_t { return -EAGAIN; };
    CHECK_EQUAL(f.read(3, 2), EAGAIN);
    f.faults->on_answer = [](uint32_t, std::byte*, int64_t) -> int64_t { return 17; };
    CHECK_EQUAL(f.read(3, 2), kEndOfFile);
  });
}

TEST(every_reader_reports_eio_of_one_request_and_finishes_the_others) {
  for_each_reader([](ReaderKind kind) {
    Fixture f(kind);
    const uint32_t file = f.reader->add_file(f.path);
    const auto queue = f.reader->make_queue(&f.arena);
    f.faults->on_answer = [](uint32_t length, std::byte*, int64_t result) -> int64_t {
      return length == 2 * kBlockBytes ? -EIO : result;
    };
    const std::vector<ReadRequest> requests{f.request(file, 1, 1, 0, 0), f.request(file, 2, 2, 1, 1),
                                            f.request(file, 5, 1, 3, 2)};
    queue->submit(requests);
    std::vector<ReadCompletion> completions(8);
    REQUIRE(queue->wait(3, completions) == 3);
    for (size_t i = 0; i < 3; ++i) CHECK_EQUAL(completions[i].error, completions[i].tag == 1 ? EIO : 0);
  });
}

TEST(every_reader_survives_random_faults_with_the_right_bytes) {
  for_each_reader([](ReaderKind kind) {
    Fixture f(kind);
    const uint32_t file = f.reader->add_file(f.path);
    const auto queue = f.reader->make_queue(&f.arena);
    std::mt19937 random(5);
    f.faults->on_answer = [&random](uint32_t length, std::byte* buffer, int64_t result) -> int64_t {
      const unsigned dice = random() % 4;
      if (dice == 0) return -EINTR;
      if (dice == 1) return -EAGAIN;
      if (dice == 2 || result <= 0) return result;
      const auto came = 1 + random() % unsigned(result);
      std::memset(buffer + came, 0xee, length - came);
      return came;
    };
    for (int round = 0; round < 30; ++round) {
      std::vector<ReadRequest> requests;
      for (size_t i = 0; i < 8; ++i) requests.push_back(f.request(file, size_t(round + 3) % 50 + i, 4, 4 * i, i));
      queue->submit(requests);
      std::vector<ReadCompletion> completions(8);
      REQUIRE(queue->wait(8, completions) == 8);
      for (size_t i = 0; i < 8; ++i) CHECK(completions[i].error == 0 && f.arrived(requests[completions[i].tag]));
    }
    CHECK(f.reader->statistics().resubmits > 0);
  });
}

TEST(every_reader_refuses_requests_it_cannot_serve_and_starts_nothing) {
  for_each_reader([](ReaderKind kind) {
    Fixture f(kind);
    const uint32_t file = f.reader->add_file(f.path);
    const auto queue = f.reader->make_queue(&f.arena);
    const auto refused = [&](ReadRequest request, const char* why) {
      const ReadRequest both[] = {f.request(file, 0, 1, 0, 0), request};
      CHECK_THROWS(queue->submit(both), InvalidArgument, why);
      CHECK_EQUAL(queue->in_flight(), size_t{0});
    };
    refused({file, 100, 4096, f.arena.base(), 0}, "multiples of 4096");
    refused({file, 0, 100, f.arena.base(), 0}, "multiples of 4096");
    refused({file, 0, 0, f.arena.base(), 0}, "length 4 KiB");
    refused({file, 0, 4096, f.arena.base() + 8, 0}, "multiples of 4096");
    refused({file, uint64_t(INT64_MAX) - 4095, 4096, f.arena.base(), 0}, "multiples of 4096");
    refused({file + 1, 0, 4096, f.arena.base(), 0}, "no file 1");
    const std::vector<ReadRequest> too_many(queue->capacity() + 1, f.request(file, 0, 1, 0, 0));
    CHECK_THROWS(queue->submit(too_many), InvalidArgument, "room");
  });
}

TEST(every_reader_finishes_reads_of_a_file_that_is_removed_meanwhile) {
  for_each_reader([](ReaderKind kind) {
    Fixture f(kind);
    const uint32_t file = f.reader->add_file(f.path);
    CHECK_EQUAL(f.reader->path(file), f.path);
    CHECK_EQUAL(f.reader->file_bytes(file), f.content.size());
    const auto queue = f.reader->make_queue(nullptr);
    const ReadRequest request = f.request(file, 4, 8, 0, 0);
    queue->submit({&request, 1});
    f.reader->remove_file(file);
    ReadCompletion completion{};
    REQUIRE(queue->wait(1, {&completion, 1}) == 1);
    CHECK(completion.error == 0 && f.arrived(request));
    CHECK_THROWS(queue->submit({&request, 1}), InvalidArgument, "no file");
    CHECK_THROWS(f.reader->path(file), InvalidArgument, "no file");
  });
}

TEST(every_queue_waits_in_its_destructor_for_what_is_in_flight) {
  for_each_reader([](ReaderKind kind) {
    Fixture f(kind);
    auto queue = f.reader->make_queue(&f.arena);
    const uint32_t file = f.reader->add_file(f.path);
    std::vector<ReadRequest> requests;
    for (size_t i = 0; i < 8; ++i) requests.push_back(f.request(file, 4 * i, 4, 4 * i, i));
    queue->submit(requests);
    f.reader.reset();  // a queue outlives its reader
    queue.reset();
    for (const ReadRequest& request : requests) CHECK(f.arrived(request));
  });
}

TEST(every_queue_gives_out_no_more_than_was_asked_and_only_looks_for_zero) {
  for_each_reader([](ReaderKind kind) {
    Fixture f(kind);
    const auto queue = f.reader->make_queue(&f.arena);
    std::vector<ReadCompletion> completions(8);
    CHECK_EQUAL(queue->wait(5, completions), size_t{0});  // nothing in flight: nothing to wait for
    const uint32_t file = f.reader->add_file(f.path);
    std::vector<ReadRequest> requests;
    for (size_t i = 0; i < 5; ++i) requests.push_back(f.request(file, i, 1, i, i));
    queue->submit(requests);
    CHECK_EQUAL(queue->wait(100, std::span(completions).first(2)), size_t{2});
    CHECK_EQUAL(queue->in_flight(), size_t{3});
    CHECK_EQUAL(queue->wait(1, {}), size_t{0});
    size_t rest = 0;
    while (rest < 3) rest += queue->wait(0, completions);
    CHECK_EQUAL(queue->room(), size_t{8});
  });
}

TEST(concurrent_queues_of_one_reader_do_not_disturb_each_other) {
  for_each_reader([](ReaderKind kind) {
    Fixture f(kind);
    const auto work = [&](unsigned seed) {
      std::mt19937 random(seed);
      AlignedBuffer buffer(8 * kBlockBytes);
      for (int life = 0; life < 5; ++life) {
        const uint32_t file = f.reader->add_file(f.path);
        const auto queue = f.reader->make_queue(nullptr);
        for (int round = 0; round < 20; ++round) {
          std::vector<ReadRequest> requests;
          for (uint64_t i = 0; i < 8; ++i)
            requests.push_back({file, random() % kBlocks * kBlockBytes, kBlockBytes, buffer.data + i * kBlockBytes, i});
          queue->submit(requests);
          std::vector<ReadCompletion> completions(8);
          CHECK_EQUAL(queue->wait(8, completions), size_t{8});
          for (const auto& c : completions) CHECK(c.error == 0 && f.arrived(requests[c.tag]));
        }
        f.reader->remove_file(file);
      }
    };
    std::vector<std::thread> threads;
    for (unsigned seed = 0; seed < 4; ++seed) threads.emplace_back(work, seed);
    for (auto& thread : threads) thread.join();
    CHECK_EQUAL(f.reader->statistics().reads, uint64_t{4 * 5 * 20 * 8});
  });
}

TEST(a_queue_may_pass_from_one_thread_to_another) {
  for_each_reader([](ReaderKind kind) {
    Fixture f(kind);
    auto queue = f.reader->make_queue(&f.arena);
    const ReadRequest request = f.request(f.reader->add_file(f.path), 4, 8, 0, 9);
    std::thread([&] { queue->submit({&request, 1}); }).join();
    ReadCompletion completion{};
    std::thread([&] { CHECK_EQUAL(queue->wait(1, {&completion, 1}), size_t{1}); }).join();
    CHECK(completion.tag == 9 && f.arrived(request));
  });
}

}  // namespace
}  // namespace outcrop::testing
