// The 4-KiB blocks of a file that a read would touch, and what the device charges for it.
#pragma once

#include <cstdint>
#include <vector>

namespace outcrop {

// A read costs max(1 / IOPS, bytes / bandwidth).
struct DeviceCharge {
  double read_us = 1e6 / 89'000;
  double byte_us = 1e6 / 1.14e9;

  double cost_us(uint64_t bytes) const {
    const double bytes_us = static_cast<double>(bytes) * byte_us;
    return bytes_us > read_us ? bytes_us : read_us;
  }
};

// One bit per block: to add a key is a store, and joining two sets drops what they share.
class PageSet {
 public:
  explicit PageSet(uint64_t num_pages = 0) : words_((num_pages + 63) / 64) {}

  void clear() { words_.assign(words_.size(), 0); }
  void add(uint64_t first, uint64_t last) {
    for (uint64_t page = first; page <= last; ++page) words_[page / 64] |= uint64_t{1} << (page % 64);
  }
  void add(const PageSet& other);

  // Of reading these pages in file order, in reads joined across gaps of up to gap_pages and cut at max_pages.
  double cost_us(const DeviceCharge& device, uint64_t gap_pages, uint64_t max_pages) const;

  uint64_t memory_bytes() const { return words_.capacity() * sizeof(uint64_t); }

 private:
  std::vector<uint64_t> words_;
};

}  // namespace outcrop
