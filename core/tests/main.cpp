#include <cstdio>
#include <cstring>
#include <mutex>

#include "tests/check.hpp"

namespace outcrop::testing {
namespace {
std::mutex failures_mutex;
int failures = 0;
}  // namespace

std::vector<Test>& all_tests() {
  static std::vector<Test> tests;
  return tests;
}

void record_failure(const char* file, int line, const std::string& text) {
  std::lock_guard lock(failures_mutex);
  ++failures;
  std::printf("%s:%d: %s\n", file, line, text.c_str());
}

// Whether the test passed.
static bool run(const Test& test) {
  const int before = failures;
  try {
    test.run();
  } catch (const Abandoned&) {
  } catch (const std::exception& error) {
    record_failure(test.file, 0, std::string("an exception left the test: ") + error.what());
  }
  if (failures != before) std::printf("FAILED %s\n", test.name);
  std::fflush(stdout);
  return failures == before;
}

}  // namespace outcrop::testing

int main(int argc, char** argv) {
  using namespace outcrop::testing;
  const char* part = argc > 1 ? argv[1] : "";
  const bool only_list = std::strcmp(part, "--list") == 0;
  int passed = 0, failed = 0;
  for (const Test& test : all_tests()) {
    if (only_list) {
      std::printf("%s\n", test.name);
    } else if (std::strstr(test.name, part) != nullptr) {
      (run(test) ? passed : failed) += 1;
    }
  }
  if (!only_list) std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
