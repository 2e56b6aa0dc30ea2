// The few exceptions of the core. core/bindings/errors.cpp is the one place that turns them into the classes of
// outcrop/errors.py, keeping the text. A message says what was expected, what was found, and where.
#pragma once

#include <stdexcept>
#include <string>

namespace outcrop {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The caller's mistake; fix the call.
struct InvalidArgument : Error {
  using Error::Error;
};

// Bytes disagree with their checksum or layout; restore or rebuild.
struct CorruptFile : Error {
  using Error::Error;
};

// Written by a newer or retired version; upgrade.
struct UnsupportedFormat : Error {
  using Error::Error;
};

// The device refused; carries errno.
struct StorageFailure : Error {
  StorageFailure(int code, const std::string& what) : Error(what), error_number(code) {}
  int error_number;
};

// A stated budget would be exceeded; lower the request or raise the budget.
struct ResourceExhausted : Error {
  using Error::Error;
};

// The time allowed for the call is over; allow more, or ask for less.
struct DeadlineExceeded : Error {
  using Error::Error;
};

// The call was stopped on request.
struct Cancelled : Error {
  using Error::Error;
};

}  // namespace outcrop
