// Which rows stay in a cache: next uses, the cache that goes by them, and the recipes of minibatches.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/tuple.h>

#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "bindings/bindings.hpp"
#include "error.hpp"
#include "loader/scheduler.hpp"
#include "tiers/look_ahead.hpp"
#include "tiers/next_use_cache.hpp"
#include "tiers/recipe.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace outcrop::bindings {

namespace {

template <class T>
using Vector = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using NumpyVector = nb::ndarray<nb::numpy, T, nb::ndim<1>>;
using Keys = Vector<uint32_t>;
using NumpyKeys = NumpyVector<uint32_t>;
template <class T>
using NumpyMatrix = nb::ndarray<nb::numpy, T, nb::ndim<2>>;

template <class T>
std::span<const T> as_span(const Vector<T>& array) {
  return {array.data(), array.size()};
}

// The array takes the vector over.
template <class T>
NumpyVector<T> to_numpy(std::vector<T> values) {
  auto* owned = new std::vector<T>(std::move(values));
  nb::capsule owner(owned, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return NumpyVector<T>(owned->data(), {owned->size()}, owner);
}

// The policy of properties would tie the array to the object that made it; it has an owner.
constexpr auto kNewArray = nb::rv_policy::automatic;

// A member of each record, as an array of its own.
template <class T, class Record>
NumpyVector<T> column(const std::vector<Record>& records, T Record::* member) {
  std::vector<T> values;
  values.reserve(records.size());
  for (const Record& record : records) values.push_back(record.*member);
  return to_numpy(std::move(values));
}

// ---- next uses

NumpyKeys uses_before(NextUses& future, uint32_t request, Keys keys) {
  std::vector<uint32_t> next_use(keys.size());
  {
    nb::gil_scoped_release release;
    future.before(request, as_span(keys), next_use);
  }
  return to_numpy(std::move(next_use));
}

NumpyKeys first_uses(const NextUses& future, Keys keys) {
  std::vector<uint32_t> next_use(keys.size());
  {
    nb::gil_scoped_release release;
    future.first(as_span(keys), next_use);
  }
  return to_numpy(std::move(next_use));
}

NumpyKeys announce(LookAhead& future, Keys keys) {
  std::vector<uint32_t> outside;
  {
    nb::gil_scoped_release release;
    outside = future.announce(as_span(keys));
  }
  return to_numpy(std::move(outside));
}

void bind_next_uses(nb::module_& m) {
  m.attr("NEVER") = kNever;
  m.attr("UNKNOWN") = kUnknown;
  m.attr("MISS") = kMiss;
  nb::class_<NextUses>(m, "NextUses",
                       "The next uses of a whole trace of requests, computed from its end. 4 bytes per key.")
      .def(nb::init<uint64_t, uint32_t>(), "num_keys"_a, "last"_a = kNever,
           "last: what follows a key's last use, NEVER or, when another trace comes behind this one, UNKNOWN.")
      .def("before", &uses_before, "request"_a, "keys"_a.noconvert(),
           "uint32 [n]: the request after `request` that uses each of its keys (uint32 [n]).\n\n"
           "Requests come with falling numbers. Raises InvalidArgument.")
      .def("first", &first_uses, "keys"_a.noconvert(),
           "uint32 [n]: the first request, of those given, that uses each of the keys (uint32 [n]).");
  nb::class_<LookAhead>(
      m, "LookAhead", "The next uses inside a window of announced requests. 8 bytes per key, 4 for each in the window.")
      .def(nb::init<uint64_t>(), "num_keys"_a)
      .def_prop_ro("window", &LookAhead::window, "Requests that are announced and not taken.")
      .def_prop_ro("end", &LookAhead::end, "The number of the next request to be announced.")
      .def(
          "announce", &announce, "keys"_a.noconvert(),
          "Append a request (uint32 [n]) to the window; return those of its keys that no request of the window holds:\n"
          "what `NextUseCache.promote` wants to know.")
      .def(
          "take", [](LookAhead& future) { return to_numpy(future.take()); },
          "Take the oldest request out of the window: uint32 [n], the next use of each key, or UNKNOWN.");
}

// ---- the cache

CacheStep step_of(NextUseCache& cache, uint32_t request, Keys keys, Keys next_use) {
  nb::gil_scoped_release release;
  return cache.step(request, as_span(keys), as_span(next_use));
}

void advance(NextUseCache& cache, uint32_t request, Keys keys, Keys next_use) {
  nb::gil_scoped_release release;
  cache.step(request, as_span(keys), as_span(next_use));
}

void promote(NextUseCache& cache, Keys keys, uint32_t request) {
  nb::gil_scoped_release release;
  cache.promote(as_span(keys), request);
}

void pin(NextUseCache& cache, Keys keys) {
  nb::gil_scoped_release release;
  cache.pin(as_span(keys));
}

void set_scores(NextUseCache& cache, Vector<uint16_t> scores) {
  nb::gil_scoped_release release;
  cache.set_scores(as_span(scores));
}

std::tuple<NumpyKeys, NumpyKeys, NumpyKeys> contents_of(const NextUseCache& cache) {
  const std::vector<CachedKey> found = cache.contents();
  return {column(found, &CachedKey::key), column(found, &CachedKey::slot), column(found, &CachedKey::next_use)};
}

void load(NextUseCache& cache, Keys keys, Keys slots, Keys next_uses) {
  if (keys.size() != slots.size() || keys.size() != next_uses.size())
    throw InvalidArgument("load: expected as many slots and next uses as keys, found " + std::to_string(keys.size()) +
                          " keys, " + std::to_string(slots.size()) + " slots and " + std::to_string(next_uses.size()) +
                          " next uses");
  std::vector<CachedKey> contents(keys.size());
  for (size_t i = 0; i < contents.size(); i++) contents[i] = {keys.data()[i], slots.data()[i], next_uses.data()[i]};
  cache.load(contents);
}

void bind_cache(nb::module_& m) {
  nb::class_<NextUseStatistics>(m, "NextUseStatistics", "What a NextUseCache has seen and done.")
      .def_ro("requests", &NextUseStatistics::requests)
      .def_ro("hits", &NextUseStatistics::hits)
      .def_ro("misses", &NextUseStatistics::misses)
      .def_ro("inserts", &NextUseStatistics::inserts)
      .def_ro("evictions", &NextUseStatistics::evictions);
  nb::class_<CacheStep>(m, "CacheStep",
                        "What a request does to a cache. A slot given to an insert may be one that the request hits:\n"
                        "hits are gathered first. Arrays are uint32, made anew by each look at them.")
      .def_prop_ro(
          "hit_slots", [](const CacheStep& step) { return to_numpy(step.hit_slots); }, kNewArray,
          "Per key; MISS: absent.")
      .def_prop_ro(
          "insert_indices", [](const CacheStep& step) { return column(step.inserts, &CacheInsert::index); }, kNewArray,
          "Places in the keys of those that enter, ascending.")
      .def_prop_ro(
          "insert_slots", [](const CacheStep& step) { return column(step.inserts, &CacheInsert::slot); }, kNewArray)
      .def_prop_ro(
          "evicted_keys", [](const CacheStep& step) { return column(step.evictions, &CacheEviction::key); }, kNewArray)
      .def_prop_ro(
          "evicted_slots", [](const CacheStep& step) { return column(step.evictions, &CacheEviction::slot); },
          kNewArray)
      .def_prop_ro(
          "evicted_next_uses", [](const CacheStep& step) { return column(step.evictions, &CacheEviction::next_use); },
          kNewArray, "NEVER: nobody needs it any more.")
      .def_prop_ro(
          "bypassed", [](const CacheStep& step) { return to_numpy(step.bypassed); }, kNewArray,
          "Places in the keys of those missed and not inserted whose next use is known.");
  nb::class_<NextUseCache>(
      m, "NextUseCache",
      "Keeps the keys that will be used soonest: MIN with bypass (Belady 1966), a request at a time; keys of unknown\n"
      "next use stand behind the others, by score. Holds no rows, only which slot has which key.")
      .def(nb::init<uint64_t, uint64_t>(), "num_keys"_a, "capacity"_a, "capacity: in keys; 0 is fine.")
      .def_prop_ro("num_keys", &NextUseCache::num_keys)
      .def_prop_ro("capacity", &NextUseCache::capacity)
      .def("__len__", &NextUseCache::size, "Keys in the cache.")
      .def("step", &step_of, "request"_a, "keys"_a.noconvert(), "next_use"_a.noconvert(),
           "The next request. request: above the last one. keys: uint32 [n]. next_use: uint32 [n], the request that "
           "uses "
           "each\nkey next, NEVER or UNKNOWN. Raises InvalidArgument, and is of no use then, when keys contradict the "
           "next uses\ngiven before.")
      .def("advance", &advance, "request"_a, "keys"_a.noconvert(), "next_use"_a.noconvert(),
           "As `step`, for those who want the statistics only.")
      .def("promote", &promote, "keys"_a.noconvert(), "request"_a,
           "The next use of these keys (uint32 [n]) has become known; those not in the cache are passed over.")
      .def("pin", &pin, "keys"_a.noconvert(),
           "Put these keys (uint32 [n]) into slots 0, 1, ... of a new cache, where they stay whatever comes.")
      .def("set_scores", &set_scores, "scores"_a.noconvert(),
           "uint16 [num_keys]: of keys of unknown next use, the higher is kept.")
      .def("contents", &contents_of,
           "Return keys, slots and next uses of what is not pinned, uint32, by ascending slot.")
      .def("load", &load, "keys"_a.noconvert(), "slots"_a.noconvert(), "next_uses"_a.noconvert(),
           "Fill an empty cache with what another one held; next uses are those of the requests to come, or UNKNOWN.")
      .def("statistics", &NextUseCache::statistics);
}

// ---- recipes

NumpyMatrix<uint64_t> segments_of(const StreamRecipe& recipe) {
  auto* values = new std::vector<uint64_t>;
  nb::capsule owner(values, [](void* p) noexcept { delete static_cast<std::vector<uint64_t>*>(p); });
  for (const SegmentMove& s : recipe.segments) values->insert(values->end(), {s.num_misses, s.num_hits, s.log_offset});
  return NumpyMatrix<uint64_t>(values->data(), {recipe.segments.size(), size_t{3}}, owner);
}

StreamRecipe scheduled(Scheduler& scheduler, uint32_t request, SampledMinibatch& minibatch, Keys next_use) {
  nb::gil_scoped_release release;
  return scheduler.step(request, minibatch, as_span(next_use));
}

void bind_scheduler(nb::module_& m) {
  nb::class_<Scheduler>(m, "Scheduler", "The cache of one node type along one sequence of minibatches.")
      .def(nb::init<uint32_t, uint64_t, uint64_t>(), "type"_a, "num_rows"_a, "capacity"_a,
           "type: of the nodes, by number. num_rows: of its feature tables. capacity: rows that the cache holds.")
      .def_prop_ro(
          "cache", [](Scheduler& scheduler) -> NextUseCache& { return scheduler.cache(); },
          "For its scores, its statistics, and what is carried over from one sequence to the next.")
      .def("step", &scheduled, "request"_a, "minibatch"_a, "next_use"_a.noconvert(),
           "Decide where the rows of a minibatch come from, and renumber them inside each hop segment: first those "
           "missed, by\nascending id, then those hit, by ascending slot. Views of the minibatch see it.\n\n"
           "request: the minibatch's number, above the last one. next_use: uint32, for each node of the type in the "
           "order it has\nbefore. Raises InvalidArgument as `NextUseCache.step` does.");
}

void bind_recipe(nb::module_& m) {
  nb::class_<StreamRecipe>(m, "StreamRecipe",
                           "Where each row of a minibatch comes from. Arrays are made anew by each look at them.")
      .def_ro("type", &StreamRecipe::type, "Of the nodes.")
      .def_prop_ro(
          "segments", &segments_of, kNewArray,
          "uint64 [num_segments, 3]: misses, hits and log offset of each hop segment; its rows are first those\n"
          "that lie in the log from there on, then those in the cache.")
      .def_prop_ro(
          "hit_slots", [](const StreamRecipe& recipe) { return to_numpy(recipe.hit_slots); }, kNewArray)
      .def_prop_ro(
          "insert_rows", [](const StreamRecipe& recipe) { return to_numpy(recipe.insert_rows); }, kNewArray,
          "Rows of the minibatch that enter the cache when all hits have been gathered.")
      .def_prop_ro(
          "insert_slots", [](const StreamRecipe& recipe) { return to_numpy(recipe.insert_slots); }, kNewArray)
      .def("place_in_log", &place_in_log, "row_bytes"_a, "log_end"_a,
           "Give each segment with misses its place in a log that has log_end bytes; return how many it has then.");
}

}  // namespace

void bind_policy(nb::module_& m) {
  bind_next_uses(m);
  bind_cache(m);
  bind_recipe(m);
  bind_scheduler(m);
}

}  // namespace outcrop::bindings
