#include "tests/loader_files.hpp"

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <unordered_map>

namespace outcrop::testing {
namespace {

constexpr size_t kBlock = 4096;

class TestFeed final : public Feed {
 public:
  explicit TestFeed(const TestPlan& plan) : plan_(plan) {}

  uint64_t num_minibatches() const override { return plan_.minibatches.size(); }

  RecordPlace record(uint64_t position) const override {
    uint64_t offset = 0;
    for (size_t i = 0; i < position; ++i) offset += plan_.record(i).size();
    return {plan_.records.get(), offset, plan_.record(position).size()};
  }

  void recipes(uint64_t position, std::span<const std::byte> record, FeedRecipes& out) override {
    if (!std::ranges::equal(record, plan_.record(position))) throw std::runtime_error("the record is another one");
    out.recipes.clear();
    for (const TestRecipe& recipe : plan_.minibatches[position]) out.recipes.push_back(recipe.view());
  }

 private:
  const TestPlan& plan_;
};

// Different keys for each minibatch; the lower ones are more frequent, so that there are hits.
std::vector<uint32_t> draw_keys(size_t n, size_t num_keys, std::mt19937_64& random) {
  std::vector<uint32_t> keys;
  std::vector<bool> drawn(num_keys);
  while (keys.size() < std::min(n, num_keys)) {
    const double u = std::uniform_real_distribution<>(0, 1)(random);
    const auto key = std::min(num_keys - 1, size_t(u * u * double(num_keys)));
    if (!drawn[key]) keys.push_back(uint32_t(key)), drawn[key] = true;
  }
  return keys;
}

}  // namespace

TestPlan::TestPlan(const TestPlanOptions& given, const ReaderOptions& reader_options)
    : options(given), reader(BlockReader::open(reader_options)) {
  minibatches.resize(options.num_minibatches, std::vector<TestRecipe>(options.streams.size()));
  Bytes all_records;
  for (size_t i = 0; i < options.num_minibatches; ++i) {
    const Bytes bytes = record(i);
    all_records.insert(all_records.end(), bytes.begin(), bytes.end());
  }
  write_file(folder.file("minibatches.blk"), block_file_image("minibatches", all_records));
  records = BlockFile::open(reader, folder.file("minibatches.blk"));
  for (size_t s = 0; s < options.streams.size(); ++s) add_stream(s, reader_options);
}

std::string TestPlan::log_path(size_t stream) const { return folder.file("log-" + std::to_string(stream) + ".blk"); }

Bytes TestPlan::record(size_t minibatch) const { return random_bytes(kBlock * (1 + minibatch % 2), 1000 + minibatch); }

Bytes TestPlan::expected_rows(size_t minibatch, size_t stream) const {
  const size_t row_bytes = options.streams[stream].row_bytes;
  const auto& keys = minibatches[minibatch][stream].keys;
  Bytes rows(keys.size() * row_bytes);
  for (size_t i = 0; i < keys.size(); ++i)
    std::memcpy(rows.data() + i * row_bytes, tables[stream].data() + keys[i] * row_bytes, row_bytes);
  return rows;
}

std::unique_ptr<Feed> TestPlan::feed() const { return std::make_unique<TestFeed>(*this); }

// Missed rows go to the log, a few of them come from the table itself, and about half of them replace cached ones.
void TestPlan::add_stream(size_t s, const ReaderOptions&) {
  const auto [row_bytes, num_keys, num_slots] = options.streams[s];
  std::mt19937_64 random(options.seed * 100 + s);
  tables.push_back(random_bytes(num_keys * row_bytes, options.seed + s));
  std::vector<int64_t> key_in_slot(num_slots, -1);
  std::unordered_map<uint32_t, uint32_t> slot_of;
  Bytes log;
  struct Place {
    size_t minibatch, extent;
  };
  std::vector<Place> places;
  max_rows.push_back(0);
  for (size_t m = 0; m < options.num_minibatches; ++m) {
    TestRecipe& recipe = minibatches[m][s];
    const auto drawn = draw_keys(options.rows_per_segment * options.num_segments, num_keys, random);
    for (size_t segment = 0; segment < options.num_segments; ++segment) {
      const size_t per = (drawn.size() + options.num_segments - 1) / options.num_segments;
      std::vector<uint32_t> misses, hits;
      for (size_t i = segment * per; i < std::min(drawn.size(), (segment + 1) * per); ++i)
        (slot_of.contains(drawn[i]) ? hits : misses).push_back(drawn[i]);
      std::vector<uint32_t> from_master;
      if (misses.size() > 3) from_master.push_back(misses.back()), misses.pop_back();
      const size_t base = recipe.keys.size();
      if (!misses.empty()) {
        log.resize((log.size() + kBlock - 1) / kBlock * kBlock + (options.congruent ? base * row_bytes % kBlock : 24));
        recipe.extents.push_back({nullptr, log.size(), base * row_bytes, misses.size() * row_bytes});
        places.push_back({m, recipe.extents.size() - 1});
        for (const uint32_t key : misses) {
          const auto row = tables[s].begin() + ptrdiff_t(key * row_bytes);
          log.insert(log.end(), row, row + ptrdiff_t(row_bytes));
          recipe.keys.push_back(key);
        }
      }
      for (const uint32_t key : hits) {
        recipe.hit_rows.push_back(uint32_t(recipe.keys.size()));
        recipe.hit_slots.push_back(slot_of[key]);
        recipe.keys.push_back(key);
      }
      for (const uint32_t key : from_master) {
        recipe.master_rows.push_back(uint32_t(recipe.keys.size()));
        recipe.master_keys.push_back(key);
        recipe.keys.push_back(key);
      }
    }
    // A slot whose row this minibatch hits may be given away: hits come first.
    std::vector<uint32_t> slots(num_slots);
    for (size_t i = 0; i < num_slots; ++i) slots[i] = uint32_t(i);
    std::ranges::shuffle(slots, random);
    std::vector<bool> is_hit(recipe.keys.size());
    for (const uint32_t row : recipe.hit_rows) is_hit[row] = true;
    for (uint32_t row = 0; row < recipe.keys.size() && !slots.empty(); ++row) {
      if (is_hit[row] || random() % 2 == 0) continue;
      const uint32_t slot = slots.back();
      slots.pop_back();
      if (key_in_slot[slot] >= 0) slot_of.erase(uint32_t(key_in_slot[slot]));
      key_in_slot[slot] = recipe.keys[row], slot_of[recipe.keys[row]] = slot;
      recipe.insert_rows.push_back(row), recipe.insert_slots.push_back(slot);
    }
    max_rows.back() = std::max<uint64_t>(max_rows.back(), recipe.keys.size());
  }
  write_file(log_path(s), block_file_image("log", log));
  logs.push_back(BlockFile::open(reader, log_path(s)));
  const std::string master_path = folder.file("rows-" + std::to_string(s) + ".blk");
  write_file(master_path, block_file_image("rows", tables[s]));
  masters.push_back(BlockFile::open(reader, master_path));
  for (const Place& place : places) minibatches[place.minibatch][s].extents[place.extent].file = logs[s].get();
}

}  // namespace outcrop::testing
