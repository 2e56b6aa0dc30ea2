// The seam through which tests make the device misbehave. Readers ask it only when ReaderOptions::faults is set: one
// test of a null pointer per completion otherwise.
#pragma once

#include <cstddef>
#include <cstdint>

namespace outcrop {

class ReadFaults {
 public:
  virtual ~ReadFaults() = default;

  // An errno with which the set-up of io_uring, the registration of buffers, one submission, or an O_DIRECT open is
  // refused; 0 lets it pass.
  virtual int setup_error() { return 0; }
  virtual int registration_error() { return 0; }
  virtual int submission_error() { return 0; }
  virtual int direct_error() { return 0; }

  // Sees what the device answered to one read (bytes, or -errno) and may change it and the bytes in the buffer.
  // Called by several threads at once.
  virtual int64_t answer(uint64_t offset, uint32_t length, std::byte* buffer, int64_t result) {
    (void)offset, (void)length, (void)buffer;
    return result;
  }
};

}  // namespace outcrop
