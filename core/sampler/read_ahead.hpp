// Pages of a mapped graph, asked for before they are touched.
#pragma once

#include <cstddef>
#include <cstdint>

namespace outcrop {

// A thread that touches a page which is not in memory waits for the device, one page at a time; asked for ahead, pages
// come side by side. But asking costs about a microsecond even where the page is there, longer than drawing from it. So
// each layer is watched: whether it made the kernel read decides for the next one. One thread; graphs in memory never
// make it ask.
class ReadAhead {
 public:
  void begin_layer();
  void end_layer(uint64_t num_columns);

  bool is_on() const { return is_on_; }

  // Asks for the pages that hold the range. Errors are nobody's loss: the pages come when they are touched.
  void ask(const void* begin, size_t num_bytes);

  // Whether asking for `num_columns` columns costs less than waiting for `num_pages`.
  static bool pays(uint64_t num_pages, uint64_t num_columns);

 private:
  bool is_on_ = false;
  uint64_t pages_before_ = 0;
  uintptr_t last_page_ = 0;
};

}  // namespace outcrop
