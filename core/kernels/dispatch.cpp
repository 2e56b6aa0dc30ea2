#include "kernels/dispatch.hpp"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "error.hpp"
#include "kernels/kernel_table.hpp"

namespace outcrop {

namespace {

constexpr Isa kAll[] = {Isa::scalar, Isa::avx2, Isa::avx512};

Isa named_isa(std::string_view name, const char* source) {
  for (Isa isa : kAll)
    if (name == isa_name(isa)) return isa;
  throw InvalidArgument(std::string(source) + ": expected auto, scalar, avx2 or avx512, found '" + std::string(name) +
                        "'");
}

Isa best_isa() {
  Isa best = Isa::scalar;
  for (Isa isa : kAll)
    if (isa_supported(isa)) best = isa;
  return best;
}

Isa choose_isa() {
  const char* cap = std::getenv("OUTCROP_CPU");
  if (cap == nullptr || *cap == '\0' || std::string_view(cap) == "auto") return best_isa();
  return std::min(best_isa(), named_isa(cap, "OUTCROP_CPU"));
}

}  // namespace

std::vector<std::pair<const char*, bool>> cpu_features() {
#if defined(__x86_64__)
  __builtin_cpu_init();
#define OUTCROP_FEATURE(name) {name, __builtin_cpu_supports(name) != 0}
  return {OUTCROP_FEATURE("sse4.2"),   OUTCROP_FEATURE("avx2"),     OUTCROP_FEATURE("fma"),
          OUTCROP_FEATURE("f16c"),     OUTCROP_FEATURE("avx512f"),  OUTCROP_FEATURE("avx512bw"),
          OUTCROP_FEATURE("avx512dq"), OUTCROP_FEATURE("avx512vl"), OUTCROP_FEATURE("avx512vnni")};
#undef OUTCROP_FEATURE
#else
  return {};
#endif
}

bool isa_supported(Isa isa) {
  const auto features = cpu_features();
  const auto all = [&](std::initializer_list<std::string_view> names) {
    return std::all_of(names.begin(), names.end(), [&](std::string_view name) {
      return std::any_of(features.begin(), features.end(),
                         [&](const auto& feature) { return name == feature.first && feature.second; });
    });
  };
  switch (isa) {
    case Isa::scalar:
      return true;
    case Isa::avx2:
      return all({"avx2", "fma", "f16c"});
    case Isa::avx512:
      return all({"avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni"});
  }
  return false;
}

Isa active_isa() {
  static const Isa chosen = choose_isa();
  return chosen;
}

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::scalar:
      return "scalar";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
  }
  return "unknown";
}

Isa parse_isa(std::string_view name) {
  if (name == "auto") return active_isa();
  const Isa isa = named_isa(name, "isa");
  if (!isa_supported(isa)) throw InvalidArgument("isa: this CPU lacks " + std::string(name));
  return isa;
}

namespace kernels {

const KernelTable& kernel_table(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::avx512) return kAvx512Kernels;
  if (isa == Isa::avx2) return kAvx2Kernels;
#endif
  (void)isa;
  return kScalarKernels;
}

}  // namespace kernels

}  // namespace outcrop
