// Cached rows in host memory, by slot. Which row a slot holds is the scheduler's knowledge: here are no keys and no
// look-ups. Rows lie one behind the other without padding, since a stride rounded up to cache lines would cost more
// rows of the cache than it saves time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "io/page_buffer.hpp"

namespace outcrop {

class RowSlab {
 public:
  // Throws InvalidArgument for rows of no bytes or a size past 64 bits, ResourceExhausted. 0 slots are fine.
  RowSlab(uint64_t num_slots, uint64_t row_bytes);

  uint64_t num_slots() const { return num_slots_; }
  uint64_t row_bytes() const { return row_bytes_; }
  uint64_t size_bytes() const { return buffer_.size(); }

  std::byte* row(uint64_t slot) { return buffer_.data() + slot * row_bytes_; }
  const std::byte* row(uint64_t slot) const { return buffer_.data() + slot * row_bytes_; }

 private:
  uint64_t num_slots_;
  uint64_t row_bytes_;
  PageBuffer buffer_;
};

}  // namespace outcrop
