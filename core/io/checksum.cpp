#include "io/checksum.hpp"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace outcrop {
namespace {

constexpr uint32_t kPolynomial = 0x82F63B78;  // 0x1EDC6F41 with its bits reversed

using Tables = std::array<std::array<uint32_t, 256>, 8>;

constexpr Tables make_tables() {
  Tables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? kPolynomial : 0);
    tables[0][byte] = crc;
  }
  for (uint32_t byte = 0; byte < 256; ++byte) {
    for (size_t slice = 1; slice < 8; ++slice) {
      const uint32_t previous = tables[slice - 1][byte];
      tables[slice][byte] = (previous >> 8) ^ tables[0][previous & 0xff];
    }
  }
  return tables;
}

constexpr Tables kTables = make_tables();

uint64_t load_u64(const unsigned char* p) {
  uint64_t word;
  std::memcpy(&word, p, sizeof word);  // the formats and the supported CPUs are little-endian
  return word;
}

uint32_t step_portable(uint32_t crc, uint64_t word) {
  word ^= crc;
  uint32_t next = 0;
  for (size_t i = 0; i < 8; ++i) next ^= kTables[7 - i][(word >> (8 * i)) & 0xff];
  return next;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t crc32c_sse42(uint32_t crc, const void* data, size_t size) {
  const auto* p = static_cast<const unsigned char*>(data);
  uint64_t state = ~crc;
  for (; size >= 8; size -= 8, p += 8) state = _mm_crc32_u64(state, load_u64(p));
  auto tail = static_cast<uint32_t>(state);
  for (; size > 0; --size, ++p) tail = _mm_crc32_u8(tail, *p);
  return ~tail;
}

// The instruction has a latency of three cycles and starts one per cycle: three blocks side by side keep it busy.
__attribute__((target("sse4.2"))) void three_block_checksums(const unsigned char* blocks, uint64_t first_block,
                                                             uint32_t* out) {
  uint64_t a = _mm_crc32_u64(0xffffffff, first_block);
  uint64_t b = _mm_crc32_u64(0xffffffff, first_block + 1);
  uint64_t c = _mm_crc32_u64(0xffffffff, first_block + 2);
  for (size_t i = 0; i < kBlockBytes; i += 8) {
    a = _mm_crc32_u64(a, load_u64(blocks + i));
    b = _mm_crc32_u64(b, load_u64(blocks + kBlockBytes + i));
    c = _mm_crc32_u64(c, load_u64(blocks + 2 * kBlockBytes + i));
  }
  out[0] = ~static_cast<uint32_t>(a);
  out[1] = ~static_cast<uint32_t>(b);
  out[2] = ~static_cast<uint32_t>(c);
}

const bool kHasInstruction = __builtin_cpu_supports("sse4.2");
#else
constexpr bool kHasInstruction = false;
#endif

}  // namespace

bool has_crc32c_instruction() { return kHasInstruction; }

uint32_t crc32c_portable(uint32_t crc, const void* data, size_t size) {
  const auto* p = static_cast<const unsigned char*>(data);
  crc = ~crc;
  for (; size >= 8; size -= 8, p += 8) crc = step_portable(crc, load_u64(p));
  for (; size > 0; --size, ++p) crc = (crc >> 8) ^ kTables[0][(crc ^ *p) & 0xff];
  return ~crc;
}

uint32_t crc32c(uint32_t crc, const void* data, size_t size) {
#if defined(__x86_64__)
  if (kHasInstruction) return crc32c_sse42(crc, data, size);
#endif
  return crc32c_portable(crc, data, size);
}

void block_checksums_portable(const std::byte* blocks, size_t num_blocks, uint64_t first_block, uint32_t* out) {
  for (size_t i = 0; i < num_blocks; ++i) {
    const uint64_t number = first_block + i;
    out[i] = crc32c_portable(crc32c_portable(0, &number, sizeof number), blocks + i * kBlockBytes, kBlockBytes);
  }
}

void block_checksums(const std::byte* blocks, size_t num_blocks, uint64_t first_block, uint32_t* out) {
  size_t done = 0;
#if defined(__x86_64__)
  if (kHasInstruction) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(blocks);
    for (; done + 3 <= num_blocks; done += 3)
      three_block_checksums(bytes + done * kBlockBytes, first_block + done, out + done);
  }
#endif
  for (; done < num_blocks; ++done) {
    const uint64_t number = first_block + done;
    out[done] = crc32c(crc32c(0, &number, sizeof number), blocks + done * kBlockBytes, kBlockBytes);
  }
}

}  // namespace outcrop
