#include <cstring>

#include "error.hpp"
#include "io/block_file.hpp"
#include "tests/check.hpp"
#include "tests/io_files.hpp"

namespace outcrop::testing {
namespace {

struct Fixture {
  TemporaryFolder folder;
  std::shared_ptr<BlockReader> reader = BlockReader::open({.kind = ReaderKind::pread, .num_threads = 1});
  Bytes payload = random_bytes(3 * 4096 + 100, 7);
  Bytes image = block_file_image("postings", payload);
  std::string path = folder.file("postings-000.blk");

  std::shared_ptr<BlockFile> open(std::string_view kind = "postings") {
    write_file(path, image);
    return BlockFile::open(reader, path, kind);
  }
};

TEST(block_file_tells_what_its_header_says) {
  Fixture f;
  const auto file = f.open();
  CHECK_EQUAL(file->payload_bytes(), f.payload.size());
  CHECK_EQUAL(file->num_data_blocks(), uint64_t{4});
  CHECK_EQUAL(file->kind(), std::string("postings"));
  CHECK(file->file_id()[15] == std::byte{15});
  file->verify(1, 4, f.image.data() + 4096);
}

TEST(block_file_without_payload_opens) {
  Fixture f;
  f.image = block_file_image("postings", {});
  CHECK_EQUAL(f.open()->num_data_blocks(), uint64_t{0});
}

TEST(block_file_names_the_bad_block_its_offset_and_both_checksums) {
  Fixture f;
  const auto file = f.open();
  f.image[3 * 4096 + 17] ^= std::byte{1};
  CHECK_THROWS(file->verify(1, 4, f.image.data() + 4096), CorruptFile,
               "postings-000.blk: block 3 at offset 12288: checksum 0x");
  file->verify(1, 2, f.image.data() + 4096);
  CHECK_THROWS(file->verify(4, 2, f.image.data()), InvalidArgument, "outside its 4 data blocks");
  CHECK_THROWS(file->verify(0, 1, f.image.data()), InvalidArgument, "outside");
}

TEST(block_file_refuses_the_wrong_kind_and_the_wrong_id) {
  Fixture f;
  CHECK_THROWS(f.open("vectors"), CorruptFile, "holds 'postings', expected 'vectors'");
  const Bytes other(16);
  CHECK_THROWS(BlockFile::open(f.reader, f.path, "postings", other), CorruptFile, "file id");
}

TEST(block_file_refuses_another_version_by_its_number) {
  Fixture f;
  f.image[8] = std::byte{2};
  CHECK_THROWS(f.open(), CorruptFile, "block 0");  // a flipped bit is damage, not a new version
  reseal_header(f.image);
  CHECK_THROWS(f.open(), UnsupportedFormat, "version 2, this build reads version 1");
}

TEST(block_file_refuses_every_flipped_bit_of_header_table_and_padding) {
  Fixture f;
  const size_t table = 5 * 4096;
  for (size_t byte = 0; byte < f.image.size(); byte += byte < 100 ? 1 : 61) {
    if (byte >= 4096 && byte < table) continue;
    f.image[byte] ^= std::byte{0x10};
    CHECK_THROWS(f.open(), CorruptFile, "postings-000.blk: ");
    f.image[byte] ^= std::byte{0x10};
  }
}

TEST(block_file_refuses_every_other_length) {
  Fixture f;
  const Bytes whole = f.image;
  for (size_t length : {size_t{0}, size_t{1}, size_t{4095}, size_t{4096}, size_t{8192}, whole.size() - 1,
                        whole.size() + 1, whole.size() + 4096}) {
    f.image = whole;
    f.image.resize(length);
    CHECK_THROWS(f.open(), CorruptFile, " bytes long");
  }
}

TEST(block_file_refuses_resealed_headers_whose_fields_disagree) {
  for (size_t field : {12, 33, 39, 40, 47, 48, 55, 56, 60, 80, 4091}) {
    Fixture f;
    f.image[field] ^= std::byte{0x81};
    reseal_header(f.image);
    CHECK_THROWS(f.open(), CorruptFile, "postings-000.blk: ");
  }
}

TEST(block_file_turns_failed_completions_into_errors_that_say_where) {
  Fixture f;
  const auto file = f.open();
  CHECK_THROWS(file->fail(kEndOfFile, 2, 2), CorruptFile, "blocks 2 to 3 at offset 8192: the file ends");
  CHECK_THROWS(file->fail(EIO, 2, 1), StorageFailure, "block 2 at offset 8192: Input/output error");
  CHECK_THROWS(BlockFile::open(f.reader, f.folder.file("none")), StorageFailure, "No such file");
}

TEST(block_file_finds_the_blocks_of_a_payload_range) {
  Fixture f;
  const auto file = f.open();
  CHECK(file->blocks_of(0, 1) == (Extent{1, 1}));
  CHECK(file->blocks_of(4095, 2) == (Extent{1, 2}));
  CHECK(file->blocks_of(0, f.payload.size()) == (Extent{1, 4}));
  CHECK_EQUAL(file->blocks_of(f.payload.size(), 0).num_blocks, uint64_t{0});
  CHECK_THROWS(file->blocks_of(1, f.payload.size()), InvalidArgument, "pass the payload's end");
  CHECK_THROWS(file->blocks_of(UINT64_MAX, 2), InvalidArgument, "pass the payload's end");
}

}  // namespace
}  // namespace outcrop::testing
