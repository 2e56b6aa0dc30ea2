// Reads by a pool of threads that call pread: where io_uring is refused, and the twin that its tests compare with.
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <thread>
#include <utility>

#include "error.hpp"
#include "io/read_progress.hpp"
#include "io/readers.hpp"

namespace outcrop {
namespace {

// What a queue's owner and the pool's threads share.
struct Inbox {
  std::mutex mutex;
  std::condition_variable arrived;
  std::deque<ReadCompletion> completions;
  size_t wanted = 0;  // completions the owner sleeps for, 0 when it does not

  void put(ReadCompletion completion) {
    // Signalled under the lock: the owner may destroy the inbox as soon as it sees the last completion.
    std::lock_guard lock(mutex);
    completions.push_back(completion);
    if (wanted != 0 && completions.size() >= wanted) arrived.notify_one();
  }
};

struct Task {
  ReadProgress progress;
  Inbox* inbox;
};

class Pool {
 public:
  Pool(uint32_t num_threads, std::shared_ptr<ReadFaults> faults, std::shared_ptr<ReadCounters> counters)
      : faults_(std::move(faults)), counters_(std::move(counters)) {
    // The threads inherit a mask that blocks all signals: those are for the threads of the application.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      while (threads_.size() < num_threads) threads_.emplace_back([this] { work(); });
    } catch (const std::system_error& error) {
      pthread_sigmask(SIG_SETMASK, &before, nullptr);
      stop();
      throw StorageFailure(error.code().value(), std::string("pread reader: cannot start a thread: ") + error.what());
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  ~Pool() { stop(); }

  void add(std::span<Task> tasks) {
    std::lock_guard lock(mutex_);
    for (Task& task : tasks) tasks_.push_back(std::move(task));
    tasks.size() == 1 ? wake_.notify_one() : wake_.notify_all();
  }

 private:
  void work() {
    Task task;
    while (take(task)) run(task);
  }

  bool take(Task& task) {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
    if (tasks_.empty()) return false;
    task = std::move(tasks_.front());
    tasks_.pop_front();
    return true;
  }

  void run(Task& task) {
    ReadProgress& progress = task.progress;
    ReaderStatistics counts;
    int error = 0;
    int64_t answer;
    do {
      answer = ::pread(progress.file->fd, progress.buffer(), progress.length(), off_t(progress.offset()));
      if (answer < 0) answer = -errno;
    } while (!progress.over(answer, faults_.get(), counts, error));
    counters_->add(counts);
    task.inbox->put({progress.request.tag, error});
  }

  void stop() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  const std::shared_ptr<ReadFaults> faults_;
  const std::shared_ptr<ReadCounters> counters_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Task> tasks_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

class PreadQueue final : public ReadQueue {
 public:
  PreadQueue(size_t capacity, std::shared_ptr<FileTable> files, std::shared_ptr<Pool> pool)
      : capacity_(capacity), files_(std::move(files)), pool_(std::move(pool)) {}

  ~PreadQueue() override {
    if (getpid() != process_) return;  // what is in flight is the parent's
    std::unique_lock lock(inbox_.mutex);
    sleep_until(in_flight_, lock);
  }

  size_t capacity() const override { return capacity_; }
  size_t in_flight() const override { return in_flight_; }

  void submit(std::span<const ReadRequest> requests) override {
    if (requests.size() > room()) throw InvalidArgument("read queue: more requests than room()");
    files_->find_all(requests, found_);
    tasks_.clear();
    for (size_t i = 0; i < requests.size(); ++i)
      tasks_.push_back({ReadProgress{requests[i], std::move(found_[i])}, &inbox_});
    in_flight_ += tasks_.size();
    if (!tasks_.empty()) pool_->add(tasks_);
  }

  size_t wait(size_t at_least, std::span<ReadCompletion> completions) override {
    std::unique_lock lock(inbox_.mutex);
    sleep_until(std::min({at_least, in_flight_, completions.size()}), lock);
    const size_t n = std::min(inbox_.completions.size(), completions.size());
    std::copy_n(inbox_.completions.begin(), n, completions.begin());
    inbox_.completions.erase(inbox_.completions.begin(), inbox_.completions.begin() + ptrdiff_t(n));
    in_flight_ -= n;
    return n;
  }

 private:
  void sleep_until(size_t wanted, std::unique_lock<std::mutex>& lock) {
    inbox_.wanted = wanted;
    inbox_.arrived.wait(lock, [&] { return inbox_.completions.size() >= wanted; });
    inbox_.wanted = 0;
  }

  const pid_t process_ = getpid();
  const size_t capacity_;
  const std::shared_ptr<FileTable> files_;
  const std::shared_ptr<Pool> pool_;
  Inbox inbox_;
  size_t in_flight_ = 0;
  std::vector<std::shared_ptr<const OpenFile>> found_;
  std::vector<Task> tasks_;
};

// A forked child has none of the pool's threads, and would wait for them: there the pool is left as it is.
void end_in_own_process(Pool* pool, pid_t process) {
  if (getpid() == process) delete pool;
}

class PreadReader final : public BlockReader {
 public:
  explicit PreadReader(const ReaderOptions& options)
      : BlockReader(ReaderKind::pread, options, false),
        pool_(new Pool(options.num_threads, options.faults, counters_),
              [process = getpid()](Pool* pool) { end_in_own_process(pool, process); }) {}

  std::unique_ptr<ReadQueue> make_queue(BufferArena*) override {
    return std::make_unique<PreadQueue>(options_.queue_depth, files_, pool_);
  }

 private:
  const std::shared_ptr<Pool> pool_;
};

}  // namespace

std::shared_ptr<BlockReader> make_pread_reader(const ReaderOptions& options) {
  return std::make_shared<PreadReader>(options);
}

}  // namespace outcrop
