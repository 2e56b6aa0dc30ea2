#include "sampler/local_ids.hpp"

#include <sys/mman.h>

#include <new>

namespace outcrop {

namespace {

constexpr size_t kHugePage = size_t{2} << 20;

}  // namespace

void* allocate_huge(size_t num_bytes) {
  const bool is_large = num_bytes >= kHugePage;
  const size_t alignment = is_large ? kHugePage : 64;
  const size_t rounded = (num_bytes + alignment - 1) / alignment * alignment;
  void* memory = std::aligned_alloc(alignment, rounded);
  if (!memory) throw std::bad_alloc();
  if (is_large) madvise(memory, rounded, MADV_HUGEPAGE);  // advice: where it is refused, pages are small
  return memory;
}

}  // namespace outcrop
