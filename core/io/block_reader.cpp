#include "io/block_reader.hpp"

#include <cstdlib>

#include "error.hpp"
#include "io/file_table.hpp"
#include "io/read_progress.hpp"
#include "io/readers.hpp"

namespace outcrop {
namespace {

constexpr const char* kOverride = "OUTCROP_READER";
constexpr size_t kMaxIdleQueues = 8;

struct Choice {
  ReaderKind kind;
  std::string reason;
};

Choice choose_automatically(const ReaderOptions& options) {
  const auto refusal = io_uring_refusal(options);
  if (!refusal) return {ReaderKind::io_uring, "io_uring works here"};
  return {ReaderKind::pread, std::string(refusal->what()) + "; using pread"};
}

Choice choose(const ReaderOptions& options) {
  if (options.kind != ReaderKind::automatic)
    return {options.kind, std::string(to_string(options.kind)) + " was asked for"};
  const char* named = std::getenv(kOverride);
  if (named == nullptr || *named == '\0') return choose_automatically(options);
  const ReaderKind kind = parse_reader_kind(named);
  if (kind == ReaderKind::automatic) return choose_automatically(options);
  return {kind, std::string(kOverride) + "=" + named};
}

void check_range(const char* name, uint32_t value, uint32_t most) {
  if (value >= 1 && value <= most) return;
  throw InvalidArgument(std::string("block reader: ") + name + " must be 1 to " + std::to_string(most) + ", got " +
                        std::to_string(value));
}

std::shared_ptr<BlockReader> make(ReaderKind kind, const ReaderOptions& options) {
  if (kind == ReaderKind::pread) return make_pread_reader(options);
  if (kind == ReaderKind::memory) return make_memory_reader(options);
  if (const auto refusal = io_uring_refusal(options)) throw *refusal;
  return make_io_uring_reader(options);
}

}  // namespace

const char* to_string(ReaderKind kind) {
  switch (kind) {
    case ReaderKind::automatic:
      return "auto";
    case ReaderKind::io_uring:
      return "io_uring";
    case ReaderKind::pread:
      return "pread";
    case ReaderKind::memory:
      return "memory";
  }
  return "unknown";
}

ReaderKind parse_reader_kind(const std::string& name) {
  for (ReaderKind kind : {ReaderKind::automatic, ReaderKind::io_uring, ReaderKind::pread, ReaderKind::memory})
    if (name == to_string(kind)) return kind;
  throw InvalidArgument("reader kind must be auto, io_uring, pread or memory, got '" + name + "'");
}

BlockReader::BlockReader(ReaderKind kind, const ReaderOptions& options, bool keep_in_memory)
    : kind_(kind),
      options_(options),
      files_(std::make_shared<FileTable>(options, keep_in_memory)),
      counters_(std::make_shared<ReadCounters>()) {}

BlockReader::~BlockReader() = default;

std::shared_ptr<BlockReader> BlockReader::open(const ReaderOptions& options) {
  check_range("queue_depth", options.queue_depth, 4096);
  check_range("num_threads", options.num_threads, 256);
  const Choice choice = choose(options);
  auto reader = make(choice.kind, options);
  reader->reason_ = choice.reason;
  return reader;
}

ReaderStatistics BlockReader::statistics() const {
  const auto load = [](const std::atomic<uint64_t>& counter) { return counter.load(std::memory_order_relaxed); };
  return {load(counters_->reads), load(counters_->bytes), load(counters_->errors), load(counters_->short_reads),
          load(counters_->resubmits)};
}

std::vector<std::string> BlockReader::notes() const { return files_->notes(); }
uint32_t BlockReader::add_file(const std::string& path) { return files_->add(path); }
void BlockReader::remove_file(uint32_t file) { files_->remove(file); }
std::string BlockReader::path(uint32_t file) const { return files_->find(file)->path; }
uint64_t BlockReader::file_bytes(uint32_t file) const { return files_->find(file)->bytes; }

std::unique_ptr<ReadQueue> BlockReader::take_queue() {
  std::unique_lock lock(idle_mutex_);
  if (idle_.empty()) {
    lock.unlock();
    return make_queue(nullptr);
  }
  auto queue = std::move(idle_.back());
  idle_.pop_back();
  return queue;
}

void BlockReader::give_back(std::unique_ptr<ReadQueue> queue) {
  if (queue->in_flight() > 0) return;  // its destructor waits for them
  std::lock_guard lock(idle_mutex_);
  if (idle_.size() < kMaxIdleQueues) idle_.push_back(std::move(queue));
}

}  // namespace outcrop
