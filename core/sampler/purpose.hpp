// What random numbers are for: the second part of every key, so that no two uses share their numbers.
#pragma once

#include <cstdint>

namespace outcrop {

enum Purpose : uint64_t { kNeighbors = 1, kLabor = 2, kNegatives = 3, kSeedOrder = 4 };

}  // namespace outcrop
