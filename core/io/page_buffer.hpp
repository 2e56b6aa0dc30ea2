// One anonymous mapping, 4-KiB aligned and on huge pages where the system has them: rows are found with fewer TLB
// misses, a direct read pins one page instead of 512, and first touches are 512 times fewer. Zero until written; pages
// never touched cost no memory.
#pragma once

#include <cstddef>

namespace outcrop {

class PageBuffer {
 public:
  PageBuffer() = default;
  // Room for `bytes`, rounded up to whole blocks; 0 maps nothing. Throws ResourceExhausted when the system refuses.
  explicit PageBuffer(size_t bytes);
  PageBuffer(PageBuffer&& other) noexcept;
  PageBuffer& operator=(PageBuffer&& other) noexcept;
  ~PageBuffer();

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace outcrop
