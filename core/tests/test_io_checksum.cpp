#include "io/checksum.hpp"
#include "tests/check.hpp"
#include "tests/io_files.hpp"

namespace outcrop::testing {
namespace {

TEST(crc32c_gives_the_published_check_values) {
  CHECK_EQUAL(crc32c(0, "123456789", 9), 0xE3069283u);
  const Bytes zeros(32);
  CHECK_EQUAL(crc32c(0, zeros.data(), 32), 0x8A9136AAu);  // RFC 3720, B.4
  CHECK_EQUAL(crc32c(0, nullptr, 0), 0u);
}

TEST(crc32c_equals_its_portable_twin_at_every_length_and_alignment) {
  const Bytes bytes = random_bytes(300, 1);
  for (size_t begin = 0; begin < 9; ++begin)
    for (size_t n = 0; begin + n <= bytes.size(); ++n)
      CHECK_EQUAL(crc32c(7, bytes.data() + begin, n), crc32c_portable(7, bytes.data() + begin, n));
}

TEST(crc32c_of_two_parts_equals_that_of_the_whole) {
  const Bytes bytes = random_bytes(100, 2);
  for (size_t cut = 0; cut <= bytes.size(); ++cut)
    CHECK_EQUAL(crc32c(crc32c(0, bytes.data(), cut), bytes.data() + cut, bytes.size() - cut),
                crc32c(0, bytes.data(), bytes.size()));
}

TEST(block_checksums_equal_crc32c_over_number_and_bytes) {
  const Bytes bytes = random_bytes(8 * kBlockBytes, 3);
  for (size_t n = 0; n <= 8; ++n) {
    std::vector<uint32_t> found(n), portable(n);
    block_checksums(bytes.data(), n, 41, found.data());
    block_checksums_portable(bytes.data(), n, 41, portable.data());
    CHECK(found == portable);
    for (uint64_t i = 0; i < n; ++i) {
      const uint64_t number = 41 + i;
      CHECK_EQUAL(found[i], crc32c(crc32c(0, &number, 8), bytes.data() + i * kBlockBytes, kBlockBytes));
    }
  }
}

TEST(a_block_in_another_place_has_another_checksum) {
  const Bytes bytes = random_bytes(kBlockBytes, 4);
  uint32_t here, there;
  block_checksums(bytes.data(), 1, 5, &here);
  block_checksums(bytes.data(), 1, 6, &there);
  CHECK(here != there);
}

}  // namespace
}  // namespace outcrop::testing
