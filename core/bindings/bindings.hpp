// Each file of this folder binds one folder of the core; module.cpp calls them in order.
#pragma once

#include <nanobind/nanobind.h>

namespace outcrop::bindings {

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
