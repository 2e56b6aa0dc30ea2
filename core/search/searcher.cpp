#include "search/searcher.hpp"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <exception>
#include <string>

#include "error.hpp"
#include "search/parallel.hpp"
#include "search/query_group.hpp"

namespace outcrop {

// What one thread needs to search.
struct Searcher::Context {
  Context(BlockReader& reader, size_t arena_bytes) : arena(arena_bytes), queue(reader.make_queue(&arena)) {}
  BufferArena arena;
  std::unique_ptr<ReadQueue> queue;  // destroyed first: it waits for reads into the arena
};

namespace {

// One thread's share of a batch: takes groups of queries from a common counter and keeps several of them in flight.
class Worker {
 public:
  Worker(const IndexView& index, ListCache& cache, BufferArena& arena, ReadQueue& queue, const SearchBatch& batch,
         const SearchOptions& options, const SearchResult& result, const Stop& stop, std::atomic<size_t>& next_query,
         std::atomic<bool>& failed)
      : index_(index),
        cache_(cache),
        arena_(arena),
        queue_(queue),
        batch_(batch),
        options_(options),
        result_(result),
        stop_(stop),
        next_query_(next_query),
        failed_(failed),
        reads_(queue.capacity()),
        completions_(queue.capacity()) {
    for (size_t i = 0; i < reads_.size(); i++) free_.push_back(i);
  }
  // A worker that fails leaves nothing in flight that points into its leases.
  ~Worker() { drain(); }

  void run() {
    while (!failed_.load(std::memory_order_relaxed)) {
      start_groups();
      if (groups_.empty()) return;
      submit();
      receive();
    }
  }

  const SearchUsage& usage() const { return usage_; }

 private:
  struct Read {
    QueryGroup* group = nullptr;
    uint32_t extent = 0;
    Extent blocks{};
    BufferArena::Lease lease;
  };

  void start_groups() {
    while (groups_.size() < options_.groups_in_flight) {
      size_t first = next_query_.fetch_add(options_.group_size);
      if (first >= batch_.num_queries) return;
      size_t count = std::min<size_t>(options_.group_size, batch_.num_queries - first);
      auto group = std::make_unique<QueryGroup>(index_, batch_, options_, result_, cache_, stop_, first, count);
      if (group->done())
        usage_.add(group->usage());
      else
        groups_.push_back(std::move(group));
    }
  }

  // Starts as many wanted reads as queue and arena have room for; the rest waits for completions.
  void submit() {
    requests_.clear();
    for (const auto& group : groups_) {
      while (group->num_wanted() > 0 && !free_.empty()) {
        if (!start_read(*group)) break;
      }
    }
    if (!requests_.empty()) queue_.submit(requests_);
    if (queue_.in_flight() == 0)
      throw ResourceExhausted("the read buffers (" + std::to_string(arena_.capacity()) +
                              " bytes for this thread) cannot hold one posting list: raise the memory budget");
  }

  bool start_read(QueryGroup& group) {
    Extent blocks = group.wanted();
    BufferArena::Lease lease = arena_.try_lease(blocks.length_bytes());
    if (!lease) return false;
    size_t slot = free_.back();
    free_.pop_back();
    requests_.push_back(
        {group.file().file(), blocks.offset_bytes(), static_cast<uint32_t>(blocks.length_bytes()), lease.data(), slot});
    reads_[slot] = {&group, group.take(), blocks, std::move(lease)};
    return true;
  }

  void receive() {
    size_t n = queue_.wait(1, completions_);
    for (size_t i = 0; i < n; i++) {
      stop_.check();
      Read read = std::move(reads_[completions_[i].tag]);
      free_.push_back(completions_[i].tag);
      if (completions_[i].error != 0)
        read.group->file().fail(completions_[i].error, read.blocks.first_block, read.blocks.num_blocks);
      read.group->arrived(read.extent, read.lease.data());
    }
    std::erase_if(groups_, [this](const auto& group) {
      if (group->done()) usage_.add(group->usage());
      return group->done();
    });
  }

  void drain() {
    while (queue_.in_flight() > 0) queue_.wait(queue_.in_flight(), completions_);
  }

  const IndexView& index_;
  ListCache& cache_;
  BufferArena& arena_;
  ReadQueue& queue_;
  const SearchBatch& batch_;
  const SearchOptions& options_;
  const SearchResult& result_;
  const Stop& stop_;
  std::atomic<size_t>& next_query_;
  std::atomic<bool>& failed_;
  std::vector<Read> reads_;  // by tag
  std::vector<size_t> free_;
  std::vector<ReadRequest> requests_;
  std::vector<ReadCompletion> completions_;
  std::vector<std::unique_ptr<QueryGroup>> groups_;
  SearchUsage usage_;
};

[[noreturn]] void contradiction(const std::string& what) { throw CorruptFile("directory: " + what); }

void check_view(const IndexView& v) {
  if (v.list_offsets.size() < 2 || v.first_list.size() < 2) contradiction("it has no lists");
  if (!std::is_sorted(v.list_offsets.begin(), v.list_offsets.end())) contradiction("list offsets go backwards");
  if (v.list_offsets.front() != 0 || v.list_offsets.back() != v.postings->payload_bytes())
    contradiction("the lists do not fill " + v.postings->path());
  if (!std::is_sorted(v.first_list.begin(), v.first_list.end())) contradiction("centroids' lists go backwards");
  if (v.first_list.front() != 0 || v.first_list.back() != v.num_lists())
    contradiction("centroids do not own all lists");
  if (!v.radius.empty() && v.radius.size() != v.num_centroids()) contradiction("radii and centroids differ in number");
  if (v.vectors && v.vectors->payload_bytes() % v.row_bytes() != 0)
    throw CorruptFile(v.vectors->path() + ": its payload is not a whole number of rows");
}

size_t checked_context_bytes(const IndexView& index, size_t num_contexts, size_t buffer_bytes) {
  check_view(index);
  if (num_contexts == 0) throw InvalidArgument("num_contexts: expected at least 1, found 0");
  size_t each = buffer_bytes / num_contexts / kBlockBytes * kBlockBytes;
  size_t least = Searcher::least_context_bytes(index);
  if (each < least)
    throw ResourceExhausted("read buffers: " + std::to_string(each) +
                            " bytes per thread cannot hold the longest read of " + std::to_string(least) +
                            " bytes: raise the memory budget");
  return each;
}

}  // namespace

size_t Searcher::least_context_bytes(const IndexView& index) {
  uint64_t longest = index.row_bytes();
  for (uint32_t list = 0; list < index.num_lists(); list++) longest = std::max(longest, index.list_bytes(list));
  return round_up_to_block(longest) + kBlockBytes;  // it may begin and end within a block
}

Searcher::Searcher(IndexView index, size_t num_contexts, size_t buffer_bytes, size_t cache_bytes)
    : index_(std::move(index)), cache_(index_.list_offsets.size() - 1, cache_bytes) {
  size_t each = checked_context_bytes(index_, num_contexts, buffer_bytes);
  for (size_t i = 0; i < num_contexts; i++) idle_.push_back(std::make_unique<Context>(index_.postings->reader(), each));
}

Searcher::~Searcher() = default;

std::vector<std::unique_ptr<Searcher::Context>> Searcher::take_contexts(size_t wanted, const Stop& stop) {
  std::unique_lock lock(mutex_);
  stop.wait(context_free_, lock, [this] { return !idle_.empty(); });
  std::vector<std::unique_ptr<Context>> taken;
  while (taken.size() < wanted && !idle_.empty()) {
    taken.push_back(std::move(idle_.back()));
    idle_.pop_back();
  }
  return taken;
}

void Searcher::give_back(std::vector<std::unique_ptr<Context>> contexts) {
  {
    std::lock_guard lock(mutex_);
    for (auto& context : contexts) idle_.push_back(std::move(context));
  }
  context_free_.notify_all();
}

void Searcher::check(const SearchBatch& batch, const SearchOptions& options) const {
  auto require = [](bool good, const std::string& what) {
    if (!good) throw InvalidArgument(what);
  };
  require(options.k >= 1 && options.k <= TopK::kMaxK, "k: expected 1 to 16384, found " + std::to_string(options.k));
  require(options.rerank <= TopK::kMaxK, "rerank: expected at most 16384, found " + std::to_string(options.rerank));
  require(options.rerank == 0 || options.rerank >= options.k, "rerank: expected 0 or at least k");
  require(options.group_size >= 1 && options.groups_in_flight >= 1 && options.num_threads >= 1,
          "group_size, groups_in_flight and num_threads: expected at least 1");
  const int32_t num_centroids = static_cast<int32_t>(index_.num_centroids());
  for (size_t q = 0; q < batch.num_queries; q++) {
    require(batch.num_probes[q] >= 0 && static_cast<size_t>(batch.num_probes[q]) <= batch.max_probes,
            "num_probes[" + std::to_string(q) + "] is out of range");
    const int32_t* probes = batch.probes + q * batch.max_probes;
    for (int32_t i = 0; i < batch.num_probes[q]; i++)
      require(probes[i] < num_centroids, "probes: there is no centroid " + std::to_string(probes[i]));
  }
}

SearchUsage Searcher::search(const SearchBatch& batch, const SearchOptions& asked, const SearchResult& result,
                             const Stop& stop) {
  check(batch, asked);
  stop.check();
  SearchOptions options = asked;
  const size_t num_groups = (batch.num_queries + options.group_size - 1) / options.group_size;
  auto contexts = take_contexts(std::min<size_t>(options.num_threads, std::max<size_t>(num_groups, 1)), stop);
  // Half the buffers, so that one extent is read while another is scanned.
  options.max_read_bytes = std::min<uint64_t>(options.max_read_bytes, contexts[0]->arena.capacity() / 2);
  std::atomic<size_t> next_query{0};
  std::atomic<bool> failed{false};
  std::vector<std::exception_ptr> errors(contexts.size());
  std::vector<SearchUsage> usages(contexts.size());
  auto work = [&](size_t i) {
    try {
      Worker worker(index_, cache_, contexts[i]->arena, *contexts[i]->queue, batch, options, result, stop, next_query,
                    failed);
      worker.run();
      usages[i] = worker.usage();
    } catch (...) {
      failed = true;
      errors[i] = std::current_exception();
    }
  };
  run_on_threads(contexts.size(), work);
  give_back(std::move(contexts));
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
  SearchUsage total;
  for (const SearchUsage& usage : usages) total.add(usage);
  return total;
}

}  // namespace outcrop
