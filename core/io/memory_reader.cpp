// Files held in memory as of add_file: no device, for tests and for telling the device's time from the rest.
#include <algorithm>
#include <cstring>
#include <deque>
#include <utility>

#include "error.hpp"
#include "io/read_progress.hpp"
#include "io/readers.hpp"

namespace outcrop {
namespace {

int64_t copy_out(const ReadProgress& progress) {
  const std::vector<std::byte>& content = progress.file->content;
  if (progress.offset() >= content.size()) return 0;
  const size_t n = std::min<size_t>(progress.length(), content.size() - progress.offset());
  std::memcpy(progress.buffer(), content.data() + progress.offset(), n);
  return int64_t(n);
}

class MemoryQueue final : public ReadQueue {
 public:
  MemoryQueue(const ReaderOptions& options, std::shared_ptr<FileTable> files, std::shared_ptr<ReadCounters> counters)
      : capacity_(options.queue_depth),
        faults_(options.faults),
        files_(std::move(files)),
        counters_(std::move(counters)) {}

  size_t capacity() const override { return capacity_; }
  size_t in_flight() const override { return done_.size(); }

  void submit(std::span<const ReadRequest> requests) override {
    if (requests.size() > room()) throw InvalidArgument("read queue: more requests than room()");
    files_->find_all(requests, found_);
    ReaderStatistics counts;
    for (size_t i = 0; i < requests.size(); ++i) {
      ReadProgress progress{requests[i], std::move(found_[i])};
      int error = 0;
      while (!progress.over(copy_out(progress), faults_.get(), counts, error)) {
      }
      done_.push_back({requests[i].tag, error});
    }
    counters_->add(counts);
  }

  size_t wait(size_t, std::span<ReadCompletion> completions) override {
    const size_t n = std::min(done_.size(), completions.size());
    std::copy_n(done_.begin(), n, completions.begin());
    done_.erase(done_.begin(), done_.begin() + ptrdiff_t(n));
    return n;
  }

 private:
  const size_t capacity_;
  const std::shared_ptr<ReadFaults> faults_;
  const std::shared_ptr<FileTable> files_;
  const std::shared_ptr<ReadCounters> counters_;
  std::vector<std::shared_ptr<const OpenFile>> found_;
  std::deque<ReadCompletion> done_;
};

class MemoryReader final : public BlockReader {
 public:
  explicit MemoryReader(const ReaderOptions& options) : BlockReader(ReaderKind::memory, options, true) {}

  std::unique_ptr<ReadQueue> make_queue(BufferArena*) override {
    return std::make_unique<MemoryQueue>(options_, files_, counters_);
  }
};

}  // namespace

std::shared_ptr<BlockReader> make_memory_reader(const ReaderOptions& options) {
  return std::make_shared<MemoryReader>(options);
}

}  // namespace outcrop
