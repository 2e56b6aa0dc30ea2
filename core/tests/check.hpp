// The harness of the native tests: small on purpose, so that they build wherever the core builds.
//
//   TEST(merge_joins_neighbours_across_a_small_gap) { CHECK(a == b); }
//
// A test's name is a sentence. `native_tests [PART]` runs the tests whose name contains PART; `--list` lists them.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace outcrop::testing {

struct Test {
  const char* name;
  const char* file;
  void (*run)();
};

std::vector<Test>& all_tests();

struct Registration {
  Registration(const char* name, const char* file, void (*run)()) { all_tests().push_back({name, file, run}); }
};

// Notes a failure of the running test, which goes on. Any thread.
void record_failure(const char* file, int line, const std::string& text);

// Ends the running test at once.
struct Abandoned : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class T>
std::string show(const T& value) {
  std::ostringstream out;
  if constexpr (requires { out << value; })
    out << value;
  else
    out << "(value)";
  return out.str();
}

// A function, so that temporaries within the two expressions live until they are compared.
template <class Found, class Expected>
void check_equal(const Found& found, const Expected& expected, const char* text, const char* file, int line) {
  if (found == expected) return;
  record_failure(file, line, std::string(text) + " is " + show(found) + ", expected " + show(expected));
}

}  // namespace outcrop::testing

#define TEST(name)                                                                             \
  static void test_##name();                                                                   \
  static const ::outcrop::testing::Registration register_##name(#name, __FILE__, test_##name); \
  static void test_##name()

#define CHECK(condition) \
  ((condition) ? void() : ::outcrop::testing::record_failure(__FILE__, __LINE__, "CHECK(" #condition ")"))

// Like CHECK, and ends the test: for what the rest of it relies on.
#define REQUIRE(condition)                                                                \
  do {                                                                                    \
    if (condition) break;                                                                 \
    ::outcrop::testing::record_failure(__FILE__, __LINE__, "REQUIRE(" #condition ")");    \
    throw ::outcrop::testing::Abandoned("required condition does not hold: " #condition); \
  } while (false)

#define CHECK_EQUAL(found, expected) ::outcrop::testing::check_equal((found), (expected), #found, __FILE__, __LINE__)

// The expression throws `type`, and its text contains `part`.
#define CHECK_THROWS(expression, type, part)                                                                       \
  do {                                                                                                             \
    try {                                                                                                          \
      (void)(expression);                                                                                          \
      ::outcrop::testing::record_failure(__FILE__, __LINE__, #expression " does not throw " #type);                \
    } catch (const type& error_) {                                                                                 \
      if (std::string(error_.what()).find(part) == std::string::npos)                                              \
        ::outcrop::testing::record_failure(                                                                        \
            __FILE__, __LINE__,                                                                                    \
            #expression " says '" + std::string(error_.what()) + "', expected '" + std::string(part) + "' in it"); \
    }                                                                                                              \
  } while (false)
