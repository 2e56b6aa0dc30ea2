#include "io/file_table.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <utility>

#include "error.hpp"
#include "io/read_faults.hpp"

namespace outcrop {
namespace {

[[noreturn]] void fail(int error, const std::string& what) {
  throw StorageFailure(error, what + ": " + std::strerror(error));
}

int open_retrying(const std::string& path, int flags) {
  int fd;
  do fd = ::open(path.c_str(), flags | O_RDONLY | O_CLOEXEC);
  while (fd < 0 && errno == EINTR);
  return fd;
}

// Some file systems take O_DIRECT at open and refuse it at the first read.
bool direct_read_works(int fd) {
  void* block = std::aligned_alloc(kBlockBytes, kBlockBytes);
  if (block == nullptr) return false;
  const ssize_t got = ::pread(fd, block, kBlockBytes, 0);
  const bool refused = got < 0 && errno == EINVAL;
  std::free(block);
  return !refused;
}

void load(OpenFile& file) {
  file.content.resize(file.bytes);
  for (size_t done = 0; done < file.content.size();) {
    const ssize_t got = ::pread(file.fd, file.content.data() + done, file.content.size() - done, off_t(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(errno, "read " + file.path);
    if (got == 0) {  // it shrank between stat and read; a read past here reports the end of file
      file.content.resize(done);
      break;
    }
    done += size_t(got);
  }
  ::close(file.fd);
  file.fd = -1;
}

void check_request(const ReadRequest& request) {
  const auto address = reinterpret_cast<uintptr_t>(request.buffer);
  if (is_block_multiple(request.offset) && is_block_multiple(request.length) && is_block_multiple(address) &&
      request.length > 0 && request.length <= (1u << 30) && request.offset <= uint64_t(INT64_MAX) - request.length)
    return;
  throw InvalidArgument("read request: offset " + std::to_string(request.offset) + ", length " +
                        std::to_string(request.length) +
                        " and the buffer must be multiples of 4096, the length 4 KiB to 1 GiB");
}

}  // namespace

OpenFile::~OpenFile() {
  if (fd >= 0) ::close(fd);
}

int FileTable::open_direct(const std::string& path) {
  if (options_.faults && options_.faults->direct_error() != 0) {
    errno = options_.faults->direct_error();
    return -1;
  }
  const int fd = open_retrying(path, O_DIRECT);
  if (fd < 0 || direct_read_works(fd)) return fd;
  ::close(fd);
  errno = EINVAL;
  return -1;
}

std::shared_ptr<OpenFile> FileTable::open(const std::string& path) {
  auto file = std::make_shared<OpenFile>();
  file->path = path;
  const bool direct = options_.direct && !keep_in_memory_;
  if (direct) file->fd = open_direct(path);
  if (direct && file->fd < 0 && errno == EINVAL)
    note(path + ": the file system refuses O_DIRECT; read through the page cache");
  if (file->fd < 0 && (!direct || errno == EINVAL)) {
    file->fd = open_retrying(path, 0);
    if (file->fd >= 0) ::posix_fadvise(file->fd, 0, 0, POSIX_FADV_RANDOM);  // no read-ahead behind our back
  }
  if (file->fd < 0) fail(errno, "open " + path);
  struct stat status{};
  if (::fstat(file->fd, &status) != 0) fail(errno, "stat " + path);
  if (S_ISDIR(status.st_mode)) fail(EISDIR, "open " + path);
  file->bytes = uint64_t(status.st_size);
  if (keep_in_memory_) load(*file);
  return file;
}

uint32_t FileTable::add(const std::string& path) {
  auto file = open(path);
  std::unique_lock lock(mutex_);
  files_.push_back(std::move(file));
  return static_cast<uint32_t>(files_.size() - 1);
}

void FileTable::remove(uint32_t file) {
  std::shared_ptr<const OpenFile> last;  // closed after the lock is released
  std::unique_lock lock(mutex_);
  if (file < files_.size()) last = std::exchange(files_[file], nullptr);
  lock.unlock();
}

std::shared_ptr<const OpenFile> FileTable::find(uint32_t file) const {
  std::shared_lock lock(mutex_);
  if (file >= files_.size() || !files_[file])
    throw InvalidArgument("read request: this reader has no file " + std::to_string(file));
  return files_[file];
}

void FileTable::find_all(std::span<const ReadRequest> requests,
                         std::vector<std::shared_ptr<const OpenFile>>& files) const {
  files.clear();
  std::shared_lock lock(mutex_);
  for (const ReadRequest& request : requests) {
    check_request(request);
    if (request.file >= files_.size() || !files_[request.file])
      throw InvalidArgument("read request: this reader has no file " + std::to_string(request.file));
    files.push_back(files_[request.file]);
  }
}

void FileTable::note(const std::string& text) {
  std::unique_lock lock(mutex_);
  notes_.insert(text);
}

std::vector<std::string> FileTable::notes() const {
  std::shared_lock lock(mutex_);
  return {notes_.begin(), notes_.end()};
}

}  // namespace outcrop
