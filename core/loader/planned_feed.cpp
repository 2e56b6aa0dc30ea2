#include "loader/planned_feed.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "error.hpp"

namespace outcrop {
namespace {

void check_offsets(const BlockFile& records, std::span<const int64_t> offsets) {
  for (size_t i = 0; i < offsets.size(); ++i) {
    const bool aligned = offsets[i] >= 0 && offsets[i] % int64_t{kRecordAlignment} == 0;
    const bool ascends = i == 0 || offsets[i - 1] < offsets[i];
    if (!aligned || !ascends || uint64_t(offsets[i]) > records.payload_bytes())
      throw CorruptFile(records.name() + ": record " + std::to_string(i) + " cannot begin at byte " +
                        std::to_string(offsets[i]) + " of " + std::to_string(records.payload_bytes()));
  }
}

// One segment's share of the recipe; `base` is its first row.
void add_segment(const SegmentMove& move, uint64_t base, const BlockFile& log, uint64_t row_bytes, Recipe& recipe,
                 std::vector<uint32_t>& hit_rows) {
  if (move.num_misses > 0)
    recipe.extents.push_back({&log, move.log_offset, base * row_bytes, move.num_misses * row_bytes});
  const size_t first = hit_rows.size();
  hit_rows.resize(first + move.num_hits);
  std::iota(hit_rows.begin() + ptrdiff_t(first), hit_rows.end(), static_cast<uint32_t>(base + move.num_misses));
}

// Only what has come from the log is in the tensor of coded rows, from which the cache takes it.
void check_inserts_are_misses(const Recipe& recipe, uint64_t row_bytes, const std::string& where) {
  const auto missed = [&](uint32_t row) {
    return std::ranges::any_of(recipe.extents, [&](const RowExtent& extent) {
      const uint64_t first = extent.out_offset / row_bytes;
      return row >= first && row - first < extent.bytes / row_bytes;
    });
  };
  for (const uint32_t row : recipe.insert_rows)
    if (!missed(row)) throw CorruptFile(where + ": insert row " + std::to_string(row) + " is not one that was missed");
}

void make_recipe(const StreamView& stream, const BlockFile& log, uint64_t row_bytes, const std::string& where,
                 Recipe& recipe, std::vector<uint32_t>& hit_rows) {
  recipe = {};
  hit_rows.clear();
  for (const SegmentMove& move : stream.segments) {
    add_segment(move, recipe.num_rows, log, row_bytes, recipe, hit_rows);
    recipe.num_rows += move.num_misses + move.num_hits;
  }
  recipe.hit_rows = hit_rows, recipe.hit_slots = stream.hit_slots;
  recipe.insert_rows = stream.insert_rows, recipe.insert_slots = stream.insert_slots;
  check_inserts_are_misses(recipe, row_bytes, where);
}

}  // namespace

PlannedFeed::PlannedFeed(PlannedFiles files, std::vector<int64_t> offsets, uint64_t passes, RecordBounds bounds)
    : files_(std::move(files)), offsets_(std::move(offsets)), passes_(passes), bounds_(std::move(bounds)) {
  if (offsets_.empty()) throw InvalidArgument("planned feed: the offsets must hold at least the end");
  if (files_.logs.size() != bounds_.streams.size())
    throw InvalidArgument("planned feed: " + std::to_string(files_.logs.size()) + " logs and " +
                          std::to_string(bounds_.streams.size()) + " streams");
  check_offsets(*files_.records, offsets_);
  for (size_t i = 0; i < files_.logs.size(); ++i) {
    if (bounds_.streams[i].row_bytes == 0) throw InvalidArgument("planned feed: rows of 0 bytes");
    bounds_.streams[i].log_bytes = files_.logs[i]->payload_bytes();
  }
}

uint64_t PlannedFeed::max_record_bytes() const {
  int64_t largest = 0;
  for (size_t i = 0; i + 1 < offsets_.size(); ++i) largest = std::max(largest, offsets_[i + 1] - offsets_[i]);
  return uint64_t(largest);
}

RecordPlace PlannedFeed::record(uint64_t position) const {
  const uint64_t i = position % num_records();
  return {files_.records.get(), uint64_t(offsets_[i]), uint64_t(offsets_[i + 1] - offsets_[i])};
}

std::string PlannedFeed::where(uint64_t position) const {
  const uint64_t i = position % num_records();
  return files_.records->name() + ": record " + std::to_string(i) + " at byte " + std::to_string(offsets_[i]);
}

void PlannedFeed::recipes(uint64_t position, std::span<const std::byte> record, FeedRecipes& out) {
  const MinibatchView view = MinibatchView::parse(record, where(position));
  view.check(bounds_, where(position));
  out.recipes.resize(view.streams.size());
  out.hit_rows.resize(view.streams.size());
  for (size_t i = 0; i < view.streams.size(); ++i)
    make_recipe(view.streams[i], *files_.logs[i], bounds_.streams[i].row_bytes, where(position), out.recipes[i],
                out.hit_rows[i]);
}

}  // namespace outcrop
