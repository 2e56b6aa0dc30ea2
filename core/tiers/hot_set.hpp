// Rows that stay in memory whatever comes: one bit per key tells them, and counting bits before it tells their slot.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

namespace outcrop {

class HotSet {
 public:
  static constexpr uint32_t kAbsent = UINT32_MAX;

  HotSet() = default;
  // keys: ascending, each once, below num_keys. Throws InvalidArgument. The rows are for the caller to fill in.
  HotSet(uint64_t num_keys, std::span<const uint32_t> keys, uint64_t row_bytes);

  bool empty() const { return words_.empty(); }
  uint32_t slot_of(uint32_t key) const {
    const Word& word = words_[key / 64];
    const uint64_t bit = uint64_t{1} << (key % 64);
    return (word.bits & bit) == 0 ? kAbsent : word.before + static_cast<uint32_t>(std::popcount(word.bits & (bit - 1)));
  }
  std::byte* row(uint32_t slot) { return rows_.data() + slot * row_bytes_; }
  const std::byte* row(uint32_t slot) const { return rows_.data() + slot * row_bytes_; }

  // What a set of that many keys holds.
  static uint64_t memory_bytes(uint64_t num_keys, uint64_t num_hot, uint64_t row_bytes);

 private:
  struct Word {
    uint64_t bits = 0;
    uint32_t before = 0;  // keys of the set in all earlier words
  };

  uint64_t row_bytes_ = 0;
  std::vector<Word> words_;
  std::vector<std::byte> rows_;
};

}  // namespace outcrop
