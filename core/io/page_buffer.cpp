#include "io/page_buffer.hpp"

#include <sys/mman.h>

#include <limits>
#include <string>
#include <utility>

#include "error.hpp"
#include "io/block.hpp"

namespace outcrop {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

// A mapping that begins at a multiple of `alignment`: more is asked for, and what is left over goes back.
std::byte* map_aligned(size_t size, size_t alignment) {
  const size_t asked = size + alignment - kBlockBytes;
  void* region = mmap(nullptr, asked, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (region == MAP_FAILED)
    throw ResourceExhausted("the system refuses a mapping of " + std::to_string(asked) + " bytes");
  auto* begin = static_cast<std::byte*>(region);
  const size_t before = (alignment - reinterpret_cast<size_t>(begin) % alignment) % alignment;
  const size_t behind = asked - before - size;
  if (before > 0) munmap(begin, before);
  if (behind > 0) munmap(begin + before + size, behind);
  return begin + before;
}

}  // namespace

PageBuffer::PageBuffer(size_t bytes) {
  if (bytes == 0) return;
  if (bytes > std::numeric_limits<size_t>::max() / 4)
    throw ResourceExhausted("a buffer of " + std::to_string(bytes) + " bytes is more than can be addressed");
  size_ = round_up_to_block(bytes);
  data_ = map_aligned(size_, size_ >= kHugePage ? kHugePage : kBlockBytes);
  // Refused where the kernel has no huge pages; small ones do the same work, slower.
  if (size_ >= kHugePage) madvise(data_, size_, MADV_HUGEPAGE);
}

PageBuffer::PageBuffer(PageBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

PageBuffer& PageBuffer::operator=(PageBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

PageBuffer::~PageBuffer() {
  if (data_ != nullptr) munmap(data_, size_);
}

}  // namespace outcrop
