// The knapsack of the allocation search: one option of each module, so that their parameters fit
// and the sum of their damages is least.
#ifndef ESPALIER_COORDINATOR_SEARCH_ALLOCATION_H_
#define ESPALIER_COORDINATOR_SEARCH_ALLOCATION_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "coordinator/search/module_options.h"
#include "coordinator/search/step_plan.h"

namespace espalier::search {

struct CostedOption {
  int64_t parameters = 0;  // ≥ 0
  double damage = 0;       // finite
};

// [M] lists, none empty, each sorted by parameters. The first option of a list has none of its
// module, or all of it where that is not cut.
using CostedModules = std::vector<std::vector<CostedOption>>;

int64_t TotalParameters(const CostedModules& modules, const Allocation& allocation);
double TotalDamage(const CostedModules& modules, const Allocation& allocation);

// The allocation with the least damage whose total is in `range`, by dynamic programming over
// totals. They are counted in units of their greatest common divisor when there are at most 8192
// such units in `range`: then the result is exact. Otherwise they are rounded to 8192nds of
// range.high; totals are checked exactly and what room is left is topped up. Empty when there is no
// such allocation (up to the rounding), or only the one without any module.
//
// Time is O(8192² / γ) whatever the depth and the number of options, since options of equal rounded
// size are reduced to the best: 65B with 345 MLP sizes a layer takes about 30 ms
// (search_benchmark.cc).
std::optional<Allocation> LeastDamage(const CostedModules& modules, const ParameterRange& range);

// The largest allocation with at most `most` parameters, as LeastDamage: exact up to its rounding.
std::optional<Allocation> Fullest(const CostedModules& modules, int64_t most);

// Enlarges modules while there is an option with more parameters and less damage that fits into
// `most`, the one with the least damage per parameter first. Modules of `kept` (when not empty,
// [M]) stay as they are.
void TopUp(const CostedModules& modules, int64_t most, const std::vector<bool>& kept,
           Allocation& allocation);

}  // namespace espalier::search

#endif  // ESPALIER_COORDINATOR_SEARCH_ALLOCATION_H_
