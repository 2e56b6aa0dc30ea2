// Executes the recipes of one stream: a minibatch's rows come together in its tensor.
//
//   assembler.check(recipe);
//   reads.add(tag, assembler.placed(recipe), tensor.coded);    // any time
//   assembler.gather(recipe, tensor);                          // when all earlier minibatches are finished
//   assembler.finish(recipe, tensor);                          // when the reads have arrived
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/row_codec.hpp"
#include "tiers/recipe.hpp"
#include "tiers/row_reads.hpp"
#include "tiers/row_slab.hpp"

namespace outcrop {

// Where one minibatch's rows of a stream go. coded: 4096-aligned, coded_bytes a multiple of 4096. Rows that are decoded
// are read there and then decoded to `decoded`, float [num_rows, dim].
struct RowTensor {
  std::byte* coded = nullptr;
  uint64_t coded_bytes = 0;
  float* decoded = nullptr;
};

struct AssemblerOptions {
  RowFormat format;
  bool decode = false;  // to float32; needs a format that decodes
  size_t num_threads = 1;
  std::shared_ptr<const BlockFile> master;  // the feature table's rows; needed for recipes with master rows
  uint64_t gap_bytes = 0;                   // between master rows that one read joins
};

class Assembler {
 public:
  // The slab's rows are the format's. Throws InvalidArgument.
  Assembler(std::shared_ptr<RowSlab> slab, const AssemblerOptions& options);

  const RowFormat& format() const { return options_.format; }
  bool decodes() const { return options_.decode; }
  const std::shared_ptr<RowSlab>& slab() const { return slab_; }
  uint64_t coded_bytes(uint64_t num_rows) const;    // of a tensor
  uint64_t decoded_bytes(uint64_t num_rows) const;  // 0 unless decode

  // Throws InvalidArgument when the recipe leaves the slab, the tensor or the files, or does not give as many rows as
  // it says. What was checked once (a plan's record) need not be checked here.
  void check(const Recipe& recipe) const;

  std::vector<PlacedRead> placed(const Recipe& recipe, const RowTensor& tensor) const;

  // Copies or decodes the hits. Slots are read here and written in finish(): of all minibatches in turn.
  void gather(const Recipe& recipe, const RowTensor& tensor) const;

  // Decodes the rows that were read, and puts those that enter the cache into their slots.
  void finish(const Recipe& recipe, const RowTensor& tensor) const;

 private:
  void decode_arrived(const Recipe& recipe, const RowTensor& tensor) const;
  bool streaming(const Recipe& recipe) const;

  const std::shared_ptr<RowSlab> slab_;
  const AssemblerOptions options_;
};

// All of it for one minibatch, waiting for the reads.
void assemble(const Assembler& assembler, const Recipe& recipe, const RowTensor& tensor, RowReads& reads);

}  // namespace outcrop
