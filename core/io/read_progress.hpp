// One request on its way: what the device's answers make of it. The same for all readers, so that they behave the same.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <memory>

#include "io/block_reader.hpp"
#include "io/file_table.hpp"
#include "io/read_faults.hpp"

namespace outcrop {

// Written by every queue of a reader. Relaxed: they are counts, not signals.
struct ReadCounters {
  std::atomic<uint64_t> reads{0}, bytes{0}, errors{0}, short_reads{0}, resubmits{0};

  static void add(std::atomic<uint64_t>& counter, uint64_t n) {
    if (n != 0) counter.fetch_add(n, std::memory_order_relaxed);
  }

  void add(const ReaderStatistics& more) {
    add(reads, more.reads);
    add(bytes, more.bytes);
    add(errors, more.errors);
    add(short_reads, more.short_reads);
    add(resubmits, more.resubmits);
  }
};

// A device that keeps answering EAGAIN, or a few bytes of a block, is asked this often before the request fails. A file
// that ends within a block answers so, too: there the last bytes come again and again.
inline constexpr uint32_t kMaxIdleAnswers = 64;

struct ReadProgress {
  ReadRequest request{};
  std::shared_ptr<const OpenFile> file;
  uint32_t filled = 0;        // whole blocks that have come; a read goes on there, since O_DIRECT asks for alignment
  uint32_t idle_answers = 0;  // since the last block that came

  uint64_t offset() const { return request.offset + filled; }
  uint32_t length() const { return request.length - filled; }
  std::byte* buffer() const { return request.buffer + filled; }

  // Takes the device's answer (bytes, or -errno). True when the request is over, with its error in `error`; else the
  // rest is to be asked again.
  bool over(int64_t answer, ReadFaults* faults, ReaderStatistics& counts, int& error) {
    if (faults != nullptr) answer = faults->answer(offset(), length(), buffer(), answer);
    if (answer == int64_t{length()}) return finish(0, counts, error);
    if (answer == 0) return finish(kEndOfFile, counts, error);
    if (answer < 0 && answer != -EINTR && answer != -EAGAIN) return finish(int(-answer), counts, error);
    if (answer > 0) ++counts.short_reads;
    const auto came = answer > 0 ? static_cast<uint32_t>(round_down_to_block(uint64_t(answer))) : 0;
    filled += came;
    idle_answers = came > 0 ? 0 : idle_answers + 1;
    if (idle_answers >= kMaxIdleAnswers) return finish(answer > 0 ? kEndOfFile : int(-answer), counts, error);
    ++counts.resubmits;
    return false;
  }

 private:
  bool finish(int result, ReaderStatistics& counts, int& error) {
    error = result;
    ++counts.reads;
    if (result == 0) counts.bytes += request.length;
    if (result != 0) ++counts.errors;
    file.reset();
    return true;
  }
};

}  // namespace outcrop
