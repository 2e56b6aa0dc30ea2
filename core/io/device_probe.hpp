// How fast a device answers, measured on an existing file: what `outcrop doctor` prints and the merge gap follows from.
#pragma once

#include <cstdint>
#include <string>

#include "io/block_reader.hpp"

namespace outcrop {

struct DeviceProbe {
  ReaderKind reader = ReaderKind::automatic;
  std::string reason;
  std::string notes;  // what was asked for and could not be had, e.g. O_DIRECT; joined by "; "
  uint32_t queue_depth = 0;
  uint64_t file_bytes = 0;
  double iops_depth_1 = 0;  // random reads of 4 KiB per second, one at a time; its inverse is the latency
  double iops = 0;          // the same, queue_depth at a time
  double iops_16k = 0;      // random reads of 16 KiB per second, queue_depth at a time
  double iops_64k = 0;
  double sequential_bytes_per_s = 0;  // reads of 1 MiB, several at a time

  // To read so many bytes more costs as much as one more read.
  double merge_gap_bytes() const { return iops > 0 ? sequential_bytes_per_s / iops : 0; }
};

// Takes about `seconds` in all. Small files, sparse ones and (unless options.direct) cached ones measure something
// other than the device. Throws InvalidArgument for a file below 64 KiB, StorageFailure.
DeviceProbe probe_device(const std::string& path, double seconds, const ReaderOptions& options);

}  // namespace outcrop
