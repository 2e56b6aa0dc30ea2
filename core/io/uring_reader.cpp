#include "error.hpp"
#include "io/readers.hpp"
namespace outcrop {
std::string io_uring_refusal(const ReaderOptions&) { return "io_uring: this build has no liburing"; }
std::shared_ptr<BlockReader> make_io_uring_reader(const ReaderOptions& options) {
  throw StorageFailure(38, io_uring_refusal(options));
}
}  // namespace outcrop
