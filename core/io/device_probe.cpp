#include "io/device_probe.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>
#include <vector>

#include "error.hpp"
#include "io/buffer_arena.hpp"

namespace outcrop {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint32_t kKiB = 1024;
constexpr size_t kSequentialDepth = 8;
constexpr int kNumMeasurements = 5;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

class Probe {
 public:
  Probe(const std::string& path, double seconds, const ReaderOptions& options)
      : seconds_(seconds / kNumMeasurements),
        reader_(BlockReader::open(options)),
        file_(reader_->add_file(path)),
        bytes_(round_down_to_block(reader_->file_bytes(file_))),
        arena_(std::max<size_t>(options.queue_depth * 64 * kKiB, kSequentialDepth * 1024 * kKiB)),
        queue_(reader_->make_queue(&arena_)) {
    if (bytes_ < 64 * kKiB)
      throw InvalidArgument("probe: " + path + " has " + std::to_string(bytes_) + " bytes, at least 64 KiB are needed");
  }

  DeviceProbe run() {
    DeviceProbe probe;
    probe.reader = reader_->kind();
    probe.reason = reader_->reason();
    probe.queue_depth = static_cast<uint32_t>(queue_->capacity());
    probe.file_bytes = bytes_;
    probe.iops_depth_1 = random_reads(4 * kKiB, 1);
    probe.iops = random_reads(4 * kKiB, queue_->capacity());
    probe.iops_16k = random_reads(16 * kKiB, queue_->capacity());
    probe.iops_64k = random_reads(64 * kKiB, queue_->capacity());
    probe.sequential_bytes_per_s = sequential_bytes();
    for (const std::string& note : reader_->notes()) probe.notes += (probe.notes.empty() ? "" : "; ") + note;
    return probe;
  }

 private:
  double random_reads(uint32_t length, size_t depth) {
    const uint64_t places = (bytes_ - length) / kBlockBytes + 1;
    return reads_per_second(length, depth, [&] { return random_() % places * kBlockBytes; });
  }

  double sequential_bytes() {
    const auto length = static_cast<uint32_t>(std::min<uint64_t>(bytes_, 1024 * kKiB));
    uint64_t next = 0;
    const auto advance = [&] {
      const uint64_t here = next + length <= bytes_ ? next : 0;
      next = here + length;
      return here;
    };
    return length * reads_per_second(length, std::min(kSequentialDepth, queue_->capacity()), advance);
  }

  // Keeps `depth` reads in flight; a buffer's number is its read's tag.
  template <class NextOffset>
  double reads_per_second(uint32_t length, size_t depth, NextOffset next_offset) {
    std::vector<ReadCompletion> completions(depth);
    for (size_t i = 0; i < depth; ++i) completions[i].tag = i;
    const auto begin = Clock::now();
    uint64_t done = 0;
    for (size_t n = depth; seconds_since(begin) < seconds_; done += n) {
      start(std::span(completions).first(n), length, next_offset);
      n = finish(1, completions);
    }
    const double taken = seconds_since(begin);
    while (queue_->in_flight() > 0) finish(1, completions);
    return double(done) / taken;
  }

  template <class NextOffset>
  void start(std::span<const ReadCompletion> free, uint32_t length, NextOffset& next_offset) {
    requests_.clear();
    for (const ReadCompletion& buffer : free)
      requests_.push_back({file_, next_offset(), length, arena_.base() + buffer.tag * length, buffer.tag});
    queue_->submit(requests_);
  }

  size_t finish(size_t at_least, std::span<ReadCompletion> completions) {
    const size_t n = queue_->wait(at_least, completions);
    for (const ReadCompletion& completion : completions.first(n)) {
      if (completion.error == kEndOfFile) throw StorageFailure(EIO, "probe: the file became shorter");
      if (completion.error != 0)
        throw StorageFailure(completion.error, std::string("probe: ") + std::strerror(completion.error));
    }
    return n;
  }

  const double seconds_;
  const std::shared_ptr<BlockReader> reader_;
  const uint32_t file_;
  const uint64_t bytes_;
  BufferArena arena_;
  std::unique_ptr<ReadQueue> queue_;  // after the arena that its reads write into
  std::vector<ReadRequest> requests_;
  std::mt19937_64 random_{1};
};

}  // namespace

DeviceProbe probe_device(const std::string& path, double seconds, const ReaderOptions& options) {
  if (!(seconds > 0)) throw InvalidArgument("probe: seconds must be positive");
  return Probe(path, seconds, options).run();
}

}  // namespace outcrop
