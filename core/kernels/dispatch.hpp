// Which instruction set the kernels use. Chosen once, at the first call: the best one that this CPU and this build
// have, lowered by the environment variable OUTCROP_CPU=scalar|avx2|avx512 if that is set.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace outcrop {

// avx2 needs AVX2, FMA and F16C. avx512 needs F, BW, DQ, VL and VNNI: a CPU without VNNI (Skylake-SP) takes avx2, so
// that there are three variants to test and not four.
enum class Isa : uint8_t { scalar, avx2, avx512 };

bool isa_supported(Isa isa);

// The variant every kernel uses unless told otherwise.
// Throws InvalidArgument if OUTCROP_CPU holds an unknown word; a variant that the CPU lacks is lowered silently.
Isa active_isa();

const char* isa_name(Isa isa);

// "auto" means active_isa(). Throws InvalidArgument for an unknown word or a variant that this CPU lacks.
Isa parse_isa(std::string_view name);

// What the CPU offers of what the core can use, by name.
std::vector<std::pair<const char*, bool>> cpu_features();

}  // namespace outcrop
