#include "tiers/assembler.hpp"

#include <algorithm>
#include <cassert>
#include <string>
#include <utility>

#include "error.hpp"
#include "io/block.hpp"
#include "search/parallel.hpp"
#include "tiers/row_copy.hpp"

namespace outcrop {
namespace {

// Tensors larger than this do not stay in the processor's caches until they are used: they are written around them.
constexpr uint64_t kStreamingBytes = uint64_t{8} << 20;

// Below this many bytes a second thread costs more to start than it saves.
constexpr uint64_t kBytesPerChunk = uint64_t{2} << 20;

size_t rows_per_chunk(uint64_t row_bytes) { return std::max<size_t>(1, kBytesPerChunk / row_bytes); }

[[noreturn]] void refuse(const std::string& what) { throw InvalidArgument("recipe: " + what); }

void check_below(std::span<const uint32_t> values, uint64_t limit, const char* what) {
  if (values.empty()) return;
  const uint32_t largest = *std::ranges::max_element(values);
  if (largest >= limit)
    refuse(std::string(what) + " " + std::to_string(largest) + " is not below " + std::to_string(limit));
}

void check_pair(std::span<const uint32_t> rows, std::span<const uint32_t> places, const char* what) {
  if (rows.size() != places.size())
    refuse(std::to_string(rows.size()) + " rows and " + std::to_string(places.size()) + " " + what);
}

}  // namespace

Assembler::Assembler(std::shared_ptr<RowSlab> slab, const AssemblerOptions& options)
    : slab_(std::move(slab)), options_(options) {
  if (slab_->row_bytes() != options_.format.row_bytes)
    throw InvalidArgument("assembler: rows of " + std::to_string(options_.format.row_bytes) +
                          " bytes and a slab of rows of " + std::to_string(slab_->row_bytes()));
  if (options_.decode && !options_.format.decodes()) throw InvalidArgument("assembler: raw rows are not decoded");
  if (options_.num_threads == 0) throw InvalidArgument("assembler: at least one thread is needed");
}

uint64_t Assembler::coded_bytes(uint64_t num_rows) const {
  return round_up_to_block(num_rows * options_.format.row_bytes);
}

uint64_t Assembler::decoded_bytes(uint64_t num_rows) const {
  return options_.decode ? num_rows * options_.format.dim() * sizeof(float) : 0;
}

void Assembler::check(const Recipe& recipe) const {
  const uint64_t row_bytes = options_.format.row_bytes, size = recipe.num_rows * row_bytes;
  check_pair(recipe.hit_rows, recipe.hit_slots, "slots of hits");
  check_pair(recipe.insert_rows, recipe.insert_slots, "slots of inserts");
  check_pair(recipe.master_rows, recipe.master_keys, "keys");
  check_below(recipe.hit_rows, recipe.num_rows, "the row of a hit");
  check_below(recipe.insert_rows, recipe.num_rows, "the row of an insert");
  check_below(recipe.master_rows, recipe.num_rows, "the row of a key");
  check_below(recipe.hit_slots, slab_->num_slots(), "the slot of a hit");
  check_below(recipe.insert_slots, slab_->num_slots(), "the slot of an insert");
  if (!recipe.master_rows.empty() && options_.master == nullptr)
    refuse("it asks for rows of a file that was not given");
  uint64_t rows = recipe.hit_rows.size() + recipe.master_rows.size();
  for (const RowExtent& extent : recipe.extents) {
    if (extent.out_offset % row_bytes != 0 || extent.bytes % row_bytes != 0 || extent.out_offset > size ||
        extent.bytes > size - extent.out_offset)
      refuse("an extent of " + std::to_string(extent.bytes) + " bytes at " + std::to_string(extent.out_offset) +
             " is not whole rows of " + std::to_string(row_bytes) + " bytes within " + std::to_string(size));
    rows += extent.bytes / row_bytes;
  }
  if (rows != recipe.num_rows)
    refuse("it gives " + std::to_string(rows) + " of " + std::to_string(recipe.num_rows) + " rows");
}

std::vector<PlacedRead> Assembler::placed(const Recipe& recipe, const RowTensor& tensor) const {
  const MasterRows master{options_.master.get(), options_.format.row_bytes, options_.gap_bytes, recipe.master_rows,
                          recipe.master_keys};
  return place_reads(recipe.extents, master, tensor.coded_bytes);
}

bool Assembler::streaming(const Recipe& recipe) const {
  return recipe.num_rows * options_.format.row_bytes > kStreamingBytes;
}

void Assembler::gather(const Recipe& recipe, const RowTensor& tensor) const {
  const auto rows = recipe.hit_rows, slots = recipe.hit_slots;
  const RowFormat& format = options_.format;
  parallel_chunks(rows.size(), rows_per_chunk(format.row_bytes), options_.num_threads, [&](size_t begin, size_t end) {
    const auto some_slots = slots.subspan(begin, end - begin), some_rows = rows.subspan(begin, end - begin);
    if (options_.decode)
      gather_decoded_rows(*slab_, some_slots, some_rows, format, tensor.decoded);
    else
      gather_rows(*slab_, some_slots, some_rows, tensor.coded, streaming(recipe));
  });
}

void Assembler::finish(const Recipe& recipe, const RowTensor& tensor) const {
  if (options_.decode) decode_arrived(recipe, tensor);
  const auto rows = recipe.insert_rows, slots = recipe.insert_slots;
  const uint64_t row_bytes = options_.format.row_bytes;
  const bool large = rows.size() * row_bytes > kStreamingBytes;
  parallel_chunks(rows.size(), rows_per_chunk(row_bytes), options_.num_threads, [&](size_t begin, size_t end) {
    insert_rows(*slab_, slots.subspan(begin, end - begin), rows.subspan(begin, end - begin), tensor.coded, large);
  });
}

void Assembler::decode_arrived(const Recipe& recipe, const RowTensor& tensor) const {
  const RowFormat& format = options_.format;
  const auto decode = [&](uint64_t row, uint64_t n) {
    decode_rows(format, tensor.coded + row * format.row_bytes, n, format.row_bytes,
                tensor.decoded + row * format.dim());
  };
  for (const RowExtent& extent : recipe.extents) {
    const uint64_t first = extent.out_offset / format.row_bytes, n = extent.bytes / format.row_bytes;
    parallel_chunks(n, rows_per_chunk(format.row_bytes), options_.num_threads,
                    [&](size_t begin, size_t end) { decode(first + begin, end - begin); });
  }
  for (const uint32_t row : recipe.master_rows) decode(row, 1);
}

void assemble(const Assembler& assembler, const Recipe& recipe, const RowTensor& tensor, RowReads& reads) {
  assert(reads.idle());
  reads.add(0, assembler.placed(recipe, tensor), tensor.coded);
  assembler.gather(recipe, tensor);
  while (!reads.idle()) reads.pump();
  assembler.finish(recipe, tensor);
}

}  // namespace outcrop
