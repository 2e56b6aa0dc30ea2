#include "tiers/page_set.hpp"

#include <bit>
#include <cassert>

#include "io/block.hpp"

namespace outcrop {

void PageSet::add(const PageSet& other) {
  assert(words_.size() == other.words_.size());
  for (size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i];
}

double PageSet::cost_us(const DeviceCharge& device, uint64_t gap_pages, uint64_t max_pages) const {
  double cost = 0;
  uint64_t begin = 0, end = 0;  // of the read that grows
  for (size_t word = 0; word < words_.size(); ++word)
    for (uint64_t bits = words_[word]; bits != 0; bits &= bits - 1) {
      const uint64_t page = word * 64 + static_cast<uint64_t>(std::countr_zero(bits));
      if (end > begin && page - end <= gap_pages && page + 1 - begin <= max_pages) {
        end = page + 1;
        continue;
      }
      if (end > begin) cost += device.cost_us((end - begin) * kBlockBytes);
      begin = page, end = page + 1;
    }
  return end > begin ? cost + device.cost_us((end - begin) * kBlockBytes) : cost;
}

}  // namespace outcrop
