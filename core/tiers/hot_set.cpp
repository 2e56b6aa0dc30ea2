#include "tiers/hot_set.hpp"

#include <string>

#include "error.hpp"

namespace outcrop {

HotSet::HotSet(uint64_t num_keys, std::span<const uint32_t> keys, uint64_t row_bytes)
    : row_bytes_(row_bytes), words_((num_keys + 63) / 64), rows_(keys.size() * row_bytes) {
  for (size_t i = 0; i < keys.size(); ++i) {
    if (keys[i] >= num_keys || (i > 0 && keys[i] <= keys[i - 1]))
      throw InvalidArgument("hot set: keys[" + std::to_string(i) + "] is " + std::to_string(keys[i]) +
                            ", expected ascending keys below " + std::to_string(num_keys) + ", each once");
    words_[keys[i] / 64].bits |= uint64_t{1} << (keys[i] % 64);
  }
  uint32_t before = 0;
  for (Word& word : words_) {
    word.before = before;
    before += static_cast<uint32_t>(std::popcount(word.bits));
  }
}

uint64_t HotSet::memory_bytes(uint64_t num_keys, uint64_t num_hot, uint64_t row_bytes) {
  return num_hot == 0 ? 0 : (num_keys + 63) / 64 * sizeof(Word) + num_hot * row_bytes;
}

}  // namespace outcrop
