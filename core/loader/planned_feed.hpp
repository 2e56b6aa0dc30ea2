// The minibatches of a plan: records of minibatches.blk, rows of the logs (docs/formats/plan.md).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "loader/feed.hpp"
#include "loader/minibatch_record.hpp"

namespace outcrop {

struct PlannedFiles {
  std::shared_ptr<const BlockFile> records;
  std::vector<std::shared_ptr<const BlockFile>> logs;  // by stream
};

class PlannedFeed final : public Feed {
 public:
  // offsets: where each record of the sequence begins, and the last one's end. The sequence is gone through `passes`
  // times: it begins with an empty cache, so its recipes are right whatever is left in the slots. Bounds of logs are
  // taken from the files. Throws CorruptFile when the offsets are not those of records, InvalidArgument.
  PlannedFeed(PlannedFiles files, std::vector<int64_t> offsets, uint64_t passes, RecordBounds bounds);

  uint64_t num_minibatches() const override { return num_records() * passes_; }
  uint64_t max_record_bytes() const;
  RecordPlace record(uint64_t position) const override;
  void recipes(uint64_t position, std::span<const std::byte> record, FeedRecipes& out) override;

 private:
  uint64_t num_records() const { return offsets_.size() - 1; }
  std::string where(uint64_t position) const;

  const PlannedFiles files_;
  const std::vector<int64_t> offsets_;
  const uint64_t passes_;
  RecordBounds bounds_;
};

}  // namespace outcrop
