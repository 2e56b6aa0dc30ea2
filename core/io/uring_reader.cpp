// Reads by io_uring: one ring per queue, one system call per batch of submissions, completions taken from shared
// memory.
#include <cerrno>
#include <cstring>

#include "error.hpp"
#include "io/read_progress.hpp"
#include "io/readers.hpp"

#ifdef OUTCROP_HAVE_LIBURING

#include <liburing.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>
#include <utility>

#include "io/buffer_arena.hpp"

namespace outcrop {
namespace {

// The kernel takes buffers of at most 1 GiB; a longer arena is registered in pieces.
constexpr size_t kMaxRegisteredBytes = size_t{1} << 30;

constexpr int kMaxSubmitAttempts = 2000;  // with 500 us between: a second
constexpr std::chrono::microseconds kSubmitPause{500};

// Completions need no interrupt of the running thread: it looks for them itself. Kernels before 5.19 do not know the
// flags.
int set_up(unsigned entries, io_uring* ring) {
#ifdef IORING_SETUP_TASKRUN_FLAG
  const int result = io_uring_queue_init(entries, ring, IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
  if (result != -EINVAL) return result;
#endif
  return io_uring_queue_init(entries, ring, 0);
}

bool reads_are_supported(io_uring* ring) {
  io_uring_probe* probe = io_uring_get_probe_ring(ring);
  const bool supported = probe != nullptr && io_uring_opcode_supported(probe, IORING_OP_READ) != 0;
  io_uring_free_probe(probe);
  return supported;
}

class UringQueue final : public ReadQueue {
 public:
  UringQueue(const ReaderOptions& options, std::shared_ptr<FileTable> files, std::shared_ptr<ReadCounters> counters,
             BufferArena* registered)
      : faults_(options.faults), files_(std::move(files)), counters_(std::move(counters)), slots_(options.queue_depth) {
    const int result = set_up(options.queue_depth, &ring_);
    if (result < 0) throw StorageFailure(-result, std::string("io_uring: set-up: ") + std::strerror(-result));
    for (size_t slot = slots_.size(); slot > 0; --slot) free_slots_.push_back(static_cast<uint32_t>(slot - 1));
    prepared_.reserve(slots_.size());
    refused_.reserve(slots_.size());
    if (registered != nullptr) register_buffers(*registered);
  }

  ~UringQueue() override {
    if (getpid() != process_) return;  // the ring's memory is shared with the parent, whose reads these are
    std::array<ReadCompletion, 64> ignored;
    while (in_flight() > 0) wait(1, ignored);
    io_uring_queue_exit(&ring_);
  }

  size_t capacity() const override { return slots_.size(); }
  size_t in_flight() const override { return slots_.size() - free_slots_.size() + refused_.size(); }

  void submit(std::span<const ReadRequest> requests) override {
    if (requests.size() > room()) throw InvalidArgument("read queue: more requests than room()");
    files_->find_all(requests, found_);
    for (size_t i = 0; i < requests.size(); ++i) {
      const uint32_t slot = free_slots_.back();
      free_slots_.pop_back();
      slots_[slot] = {requests[i], std::move(found_[i])};
      prepare(slot);
    }
    submit_prepared();
  }

  size_t wait(size_t at_least, std::span<ReadCompletion> completions) override {
    at_least = std::min({at_least, in_flight(), completions.size()});
    size_t n = take_refused(completions);
    n += reap(completions.subspan(n));
    while (n < at_least) {
      n += take_refused(completions.subspan(n));  // a second attempt at a short read may have been refused meanwhile
      if (n >= at_least) break;
      sleep_until(at_least - n);
      n += reap(completions.subspan(n));
    }
    return n;
  }

 private:
  void register_buffers(const BufferArena& arena) {
    std::vector<iovec> pieces;
    for (size_t begin = 0; begin < arena.size(); begin += kMaxRegisteredBytes)
      pieces.push_back({arena.base() + begin, std::min(kMaxRegisteredBytes, arena.size() - begin)});
    int result = faults_ ? -faults_->registration_error() : 0;
    if (result == 0) result = io_uring_register_buffers(&ring_, pieces.data(), static_cast<unsigned>(pieces.size()));
    if (result == 0) {
      registered_ = &arena;
      return;
    }
    // Usually the limit on locked memory (ulimit -l). Reads work without, at a few per cent more CPU time.
    files_->note(std::string("io_uring: registered buffers refused: ") + std::strerror(-result) + "; plain reads");
  }

  void prepare(uint32_t slot) {
    prepared_.push_back(slot);
    if (broken_ != 0) return;
    const ReadProgress& progress = slots_[slot];
    // Never null: the ring has at least as many entries as there are slots, and what is prepared is submitted.
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    const int piece = registered_piece(progress.buffer(), progress.length());
    if (piece < 0)
      io_uring_prep_read(sqe, progress.file->fd, progress.buffer(), progress.length(), progress.offset());
    else
      io_uring_prep_read_fixed(sqe, progress.file->fd, progress.buffer(), progress.length(), progress.offset(), piece);
    sqe->user_data = slot;
  }

  // The registered piece that wholly holds the buffer, or -1.
  int registered_piece(const std::byte* buffer, size_t length) const {
    if (registered_ == nullptr || !registered_->contains(buffer, length)) return -1;
    const auto begin = static_cast<size_t>(buffer - registered_->base());
    if (begin / kMaxRegisteredBytes != (begin + length - 1) / kMaxRegisteredBytes) return -1;
    return static_cast<int>(begin / kMaxRegisteredBytes);
  }

  void submit_prepared() {
    if (prepared_.empty()) return;
    const int error = broken_ != 0 ? broken_ : submit_retrying();
    if (error != 0) refuse_unsubmitted(error);
    prepared_.clear();
  }

  // 0, or the errno for which the kernel does not take what is left.
  int submit_retrying() {
    for (int attempt = 0; attempt < kMaxSubmitAttempts; ++attempt) {
      int result = faults_ ? -faults_->submission_error() : 0;
      if (result == 0) result = io_uring_submit(&ring_);
      if (io_uring_sq_ready(&ring_) == 0) return 0;
      if (result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY) return -result;
      if (result == -EAGAIN || result == -EBUSY) std::this_thread::sleep_for(kSubmitPause);
    }
    return EAGAIN;
  }

  // What the kernel did not take fails with its errno. The entries cannot be taken back from the ring, so it is not
  // submitted to any more: later requests fail alike.
  void refuse_unsubmitted(int error) {
    const size_t unsubmitted = broken_ != 0 ? prepared_.size() : io_uring_sq_ready(&ring_);
    broken_ = error;
    ReaderStatistics counts;
    for (size_t i = prepared_.size() - unsubmitted; i < prepared_.size(); ++i) {
      refused_.push_back({slots_[prepared_[i]].request.tag, error});
      release(prepared_[i]);
      ++counts.reads, ++counts.errors;
    }
    counters_->add(counts);
  }

  void release(uint32_t slot) {
    slots_[slot].file.reset();
    free_slots_.push_back(slot);
  }

  size_t take_refused(std::span<ReadCompletion> completions) {
    const size_t n = std::min(refused_.size(), completions.size());
    std::copy_n(refused_.end() - ptrdiff_t(n), n, completions.begin());
    refused_.resize(refused_.size() - n);
    return n;
  }

  void sleep_until(size_t wanted) {
    io_uring_cqe* first = nullptr;
    const int result = io_uring_wait_cqe_nr(&ring_, &first, static_cast<unsigned>(wanted));
    if (result < 0 && result != -EINTR && result != -EAGAIN)
      throw StorageFailure(-result, std::string("io_uring: wait: ") + std::strerror(-result));
  }

  // Takes what has completed, without waiting, and gives the unfinished requests back to the device.
  size_t reap(std::span<ReadCompletion> completions) {
    std::array<io_uring_cqe*, 64> cqes;
    ReaderStatistics counts;
    size_t n = 0;
    while (n < completions.size()) {
      const size_t most = std::min(cqes.size(), completions.size() - n);
      const unsigned got = io_uring_peek_batch_cqe(&ring_, cqes.data(), static_cast<unsigned>(most));
      for (unsigned i = 0; i < got; ++i) n += take(*cqes[i], completions[n], counts) ? 1 : 0;
      io_uring_cq_advance(&ring_, got);
      if (got < most) break;
    }
    counters_->add(counts);
    submit_prepared();
    return n;
  }

  // Whether the request is over.
  bool take(const io_uring_cqe& cqe, ReadCompletion& completion, ReaderStatistics& counts) {
    const auto slot = static_cast<uint32_t>(cqe.user_data);
    completion.tag = slots_[slot].request.tag;
    if (slots_[slot].over(cqe.res, faults_.get(), counts, completion.error)) {
      release(slot);
      return true;
    }
    prepare(slot);
    return false;
  }

  const std::shared_ptr<ReadFaults> faults_;
  const pid_t process_ = getpid();
  const std::shared_ptr<FileTable> files_;
  const std::shared_ptr<ReadCounters> counters_;
  io_uring ring_{};
  const BufferArena* registered_ = nullptr;
  int broken_ = 0;                   // the errno after which the ring takes no more
  std::vector<ReadProgress> slots_;  // by user_data
  std::vector<uint32_t> free_slots_;
  std::vector<uint32_t> prepared_;       // in the order of their entries
  std::vector<ReadCompletion> refused_;  // not yet handed out
  std::vector<std::shared_ptr<const OpenFile>> found_;
};

class UringReader final : public BlockReader {
 public:
  explicit UringReader(const ReaderOptions& options) : BlockReader(ReaderKind::io_uring, options, false) {}

  std::unique_ptr<ReadQueue> make_queue(BufferArena* registered) override {
    return std::make_unique<UringQueue>(options_, files_, counters_, registered);
  }
};

}  // namespace

std::optional<StorageFailure> io_uring_refusal(const ReaderOptions& options) {
  io_uring ring{};
  const int injected = options.faults ? options.faults->setup_error() : 0;
  const int result = injected != 0 ? -injected : set_up(options.queue_depth, &ring);
  if (result < 0) return StorageFailure(-result, std::string("io_uring: setup refused: ") + std::strerror(-result));
  const bool supported = reads_are_supported(&ring);
  io_uring_queue_exit(&ring);
  if (supported) return std::nullopt;
  return StorageFailure(ENOSYS, "io_uring: this kernel's io_uring has no plain read (Linux 5.6 has)");
}

std::shared_ptr<BlockReader> make_io_uring_reader(const ReaderOptions& options) {
  return std::make_shared<UringReader>(options);
}

}  // namespace outcrop

#else

namespace outcrop {

std::optional<StorageFailure> io_uring_refusal(const ReaderOptions&) {
  return StorageFailure(ENOSYS, "io_uring: this build was made without liburing");
}

std::shared_ptr<BlockReader> make_io_uring_reader(const ReaderOptions& options) { throw *io_uring_refusal(options); }

}  // namespace outcrop

#endif
