#include "error.hpp"
#include "tests/check.hpp"
#include "tiers/look_ahead.hpp"
#include "tiers/next_use_cache.hpp"

namespace outcrop::testing {
namespace {

using Keys = std::vector<uint32_t>;

TEST(look_ahead_gives_the_next_use_inside_its_window_and_what_became_known) {
  LookAhead future(10);
  future.announce(Keys{1, 2, 3});
  CHECK((future.announce(Keys{2, 4}) == Keys{4}));
  CHECK((future.announce(Keys{3, 4}) == Keys{}));
  CHECK((future.take() == Keys{kUnknown, 1, 2}));
  // Request 0 is gone: key 1 may be in the cache, with an unknown next use.
  CHECK((future.announce(Keys{1, 3}) == Keys{1}));
  CHECK((future.take() == Keys{kUnknown, 2}));
  CHECK((future.take() == Keys{3, kUnknown}));
  CHECK((future.take() == Keys{kUnknown, kUnknown}));
  CHECK_EQUAL(future.window(), size_t{0});
  CHECK_THROWS(future.take(), InvalidArgument, "no request is announced");
  CHECK_THROWS(future.announce(Keys{10}), InvalidArgument, "expected less than 10, found 10");
}

TEST(next_uses_are_those_of_a_search_through_the_trace) {
  NextUses future(6, kNever);
  Keys found(3);
  future.before(9, Keys{1, 2, 2}, found);
  CHECK((found == Keys{kNever, kNever, kNever}));
  future.before(4, Keys{2, 5, 1}, found);
  CHECK((found == Keys{9, kNever, 9}));
  CHECK_THROWS(future.before(4, Keys{1, 2, 3}, found), InvalidArgument, "expected less than 4, found 4");
  CHECK_THROWS(future.before(3, Keys{1, 2, 6}, found), InvalidArgument, "expected less than 6, found 6");
  CHECK_THROWS(future.before(3, Keys{1}, found), InvalidArgument, "1 keys, but room for 3");
  future.first(Keys{0, 2, 1}, found);
  CHECK((found == Keys{kNever, 4, 4}));
  CHECK_THROWS(NextUses(6, 5), InvalidArgument, "last: expected never or unknown, found 5");
}

}  // namespace
}  // namespace outcrop::testing
