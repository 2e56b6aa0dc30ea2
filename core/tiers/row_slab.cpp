#include "tiers/row_slab.hpp"

#include <limits>
#include <string>

#include "error.hpp"

namespace outcrop {
namespace {

uint64_t slab_bytes(uint64_t num_slots, uint64_t row_bytes) {
  if (row_bytes == 0) throw InvalidArgument("row slab: a row must have at least 1 byte");
  if (num_slots > std::numeric_limits<uint32_t>::max() || num_slots > std::numeric_limits<int64_t>::max() / row_bytes)
    throw InvalidArgument("row slab: " + std::to_string(num_slots) + " slots of " + std::to_string(row_bytes) +
                          " bytes are more than 32 bits can count or memory can hold");
  return num_slots * row_bytes;
}

}  // namespace

RowSlab::RowSlab(uint64_t num_slots, uint64_t row_bytes)
    : num_slots_(num_slots), row_bytes_(row_bytes), buffer_(slab_bytes(num_slots, row_bytes)) {}

}  // namespace outcrop
