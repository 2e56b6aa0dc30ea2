// Each file of this folder binds one folder of the core; module.cpp calls them in order.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <optional>

#include "stop.hpp"

namespace outcrop::bindings {

// The words of an outcrop.stop.Stop, int64 [2], or None. The caller keeps them for as long as the call lasts.
using StopWords =
    std::optional<nanobind::ndarray<const int64_t, nanobind::shape<2>, nanobind::c_contig, nanobind::device::cpu>>;

inline Stop stop_of(const StopWords& words) { return words ? Stop(words->data()) : Stop(); }

void bind_errors(nanobind::module_& m);
void bind_io(nanobind::module_& m);
void bind_kernels(nanobind::module_& m);
void bind_pack(nanobind::module_& m);
void bind_policy(nanobind::module_& m);
void bind_sampler(nanobind::module_& m);
void bind_loader(nanobind::module_& m);
void bind_search(nanobind::module_& m);
void bind_tiers(nanobind::module_& m);

}  // namespace outcrop::bindings
