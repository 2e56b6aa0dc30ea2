// The files that a reader knows, shared by its queues.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <shared_mutex>
#include <span>
#include <string>
#include <vector>

#include "io/block_reader.hpp"

namespace outcrop {

// One open file. Reads in flight share it, so that its descriptor or bytes stay until the last of them is done.
struct OpenFile {
  OpenFile() = default;
  ~OpenFile();
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  std::string path;
  int fd = -1;
  uint64_t bytes = 0;
  std::vector<std::byte> content;  // of the memory reader
};

class FileTable {
 public:
  FileTable(const ReaderOptions& options, bool keep_in_memory) : options_(options), keep_in_memory_(keep_in_memory) {}

  uint32_t add(const std::string& path);
  void remove(uint32_t file);
  std::shared_ptr<const OpenFile> find(uint32_t file) const;

  // The file of each request, all or none. Throws InvalidArgument for an unknown file or a misaligned request.
  void find_all(std::span<const ReadRequest> requests, std::vector<std::shared_ptr<const OpenFile>>& files) const;

  void note(const std::string& text);
  std::vector<std::string> notes() const;

 private:
  std::shared_ptr<OpenFile> open(const std::string& path);
  int open_direct(const std::string& path);

  const ReaderOptions options_;
  const bool keep_in_memory_;
  mutable std::shared_mutex mutex_;
  std::vector<std::shared_ptr<const OpenFile>> files_;  // by id; null once removed
  std::set<std::string> notes_;
};

}  // namespace outcrop
