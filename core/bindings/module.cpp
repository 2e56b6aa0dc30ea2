#include <nanobind/nanobind.h>
#include <pthread.h>

#include "bindings/bindings.hpp"

NB_MODULE(_core, m) {
  m.doc() = "The C++ core of outcrop. Import it through outcrop.native, the one door.";
  // A forked child cannot give back what the threads of its parent held; that is no leak of ours to warn of.
  pthread_atfork(nullptr, nullptr, [] { nanobind::set_leak_warnings(false); });
  outcrop::bindings::bind_errors(m);
  outcrop::bindings::bind_io(m);
  outcrop::bindings::bind_kernels(m);
  outcrop::bindings::bind_pack(m);
  outcrop::bindings::bind_policy(m);
  outcrop::bindings::bind_sampler(m);
  outcrop::bindings::bind_loader(m);
  outcrop::bindings::bind_search(m);
  outcrop::bindings::bind_tiers(m);
}
