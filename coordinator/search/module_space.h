// The sizes that one kind of module, attention or MLP, may have. All layers share them.
//
// A module has `masks` masks of `units` bits (attention: G masks of h/2 pairs; MLP: one of f
// channels), all of one size. Legal sizes are the multiples of `step` from the module's minimum on,
// and the full size, which need not be a multiple. They are numbered by levels, 0 the smallest, so
// that one level more is one step more; only the last step, to the full size, may be shorter.
#ifndef ESPALIER_COORDINATOR_SEARCH_MODULE_SPACE_H_
#define ESPALIER_COORDINATOR_SEARCH_MODULE_SPACE_H_

#include <cstdint>
#include <vector>

#include "common/rng.h"

namespace espalier::search {

class ModuleSpace {
 public:
  struct Options {
    int64_t masks = 1;
    int64_t units = 1;
    int64_t step = 1;          // units a level
    double min_ratio = 0;      // lowest share of the units that may stay
    int64_t ratio_grid = 100;  // ratios are drawn from 1, 1 - 1/grid, ... >= min_ratio
    int64_t parameters_per_unit = 1;
  };
  // Requires positive numbers and min_ratio <= 1.
  explicit ModuleSpace(const Options& options);

  int64_t masks() const { return options_.masks; }
  int64_t units() const { return options_.units; }
  int top_level() const { return static_cast<int>(sizes_.size()) - 1; }

  // Kept units of each mask.
  int64_t Size(int level) const { return sizes_[level]; }
  // The highest level whose size is at most `size`, 0 when there is none.
  int LevelOf(int64_t size) const;
  // The level whose share of the units is nearest to `ratio`, the higher of two.
  int NearestLevel(double ratio) const;
  // How many grid steps the search space goes below the full size.
  int64_t ratio_steps() const;
  // The level of a ratio drawn uniformly from the search space, among those at most `reach` grid
  // steps from the ratio of `level`.
  int DrawLevel(int level, int64_t reach, RandomStream& random) const;

  // Parameters of the module's linear layers.
  int64_t Parameters(int level) const { return sizes_[level] * UnitParameters(); }
  // Parameters of one unit of every mask.
  int64_t UnitParameters() const { return options_.masks * options_.parameters_per_unit; }

  // The part of the levels that full steps connect: 0 .. regular_top().
  int regular_top() const { return has_short_step_ ? top_level() - 1 : top_level(); }
  bool has_short_step() const { return has_short_step_; }
  int64_t StepParameters() const { return options_.step * UnitParameters(); }
  // Of the short step, 0 when there is none.
  int64_t ShortStepParameters() const;

 private:
  Options options_;
  std::vector<int64_t> sizes_;  // ascending
  bool has_short_step_ = false;
};

}  // namespace espalier::search

#endif  // ESPALIER_COORDINATOR_SEARCH_MODULE_SPACE_H_
