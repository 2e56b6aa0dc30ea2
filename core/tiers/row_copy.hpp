// Rows from slots to a tensor and back: what a minibatch's hits and inserts cost is these loops.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/row_codec.hpp"
#include "tiers/row_slab.hpp"

namespace outcrop {

// Row rows[i] of the tensor (rows of slab.row_bytes() bytes each) becomes what slot slots[i] holds. The numbers are in
// range. `streaming` writes around the processor's caches: right when the tensor is larger than they are.
void gather_rows(const RowSlab& slab, std::span<const uint32_t> slots, std::span<const uint32_t> rows,
                 std::byte* tensor, bool streaming);

// As gather_rows, decoded: row rows[i] of a float tensor [n, format.dim()].
void gather_decoded_rows(const RowSlab& slab, std::span<const uint32_t> slots, std::span<const uint32_t> rows,
                         const RowFormat& format, float* tensor);

// Slot slots[i] becomes row rows[i] of the tensor.
void insert_rows(RowSlab& slab, std::span<const uint32_t> slots, std::span<const uint32_t> rows,
                 const std::byte* tensor, bool streaming);

}  // namespace outcrop
