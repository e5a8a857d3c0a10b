// Which totals of parameters the modules can add up to, counted in steps.
//
// Modules of one kind have the same sizes in every layer, so a total depends only on how many steps
// they are above their lowest levels together, and on how many of them took the short last step.
// That makes the question "is there a legal subnet, and which is near to this one" a small
// enumeration instead of a subset-sum problem.
#ifndef ESPALIER_COORDINATOR_SEARCH_STEP_PLAN_H_
#define ESPALIER_COORDINATOR_SEARCH_STEP_PLAN_H_

#include <cstdint>
#include <optional>

#include "coordinator/search/module_space.h"

namespace espalier::search {

// Over all present layers: full steps above the lowest level, and modules at the full size that a
// short step leads to.
struct StepCounts {
  int64_t steps = 0;
  int64_t full = 0;

  friend bool operator==(const StepCounts&, const StepCounts&) = default;
};

struct StepPlan {
  StepCounts attention;
  StepCounts mlp;

  friend bool operator==(const StepPlan&, const StepPlan&) = default;
};

// An inclusive range of parameters.
struct ParameterRange {
  int64_t low = 0;
  int64_t high = 0;

  bool Contains(int64_t value) const { return value >= low && value <= high; }
};

// Thread-safe. Both spaces must outlive the planner.
class StepPlanner {
 public:
  StepPlanner(const ModuleSpace& attention, const ModuleSpace& mlp)
      : attention_(attention), mlp_(mlp) {}

  // Parameters of all modules of `layers` layers.
  int64_t Parameters(int64_t layers, const StepPlan& plan) const;

  // The largest reachable total that is at most range.high; any total within the range will do, so
  // the search ends there. Empty when even the smallest total is larger than range.high.
  std::optional<int64_t> LargestTotal(int64_t layers, const ParameterRange& range) const;

  // The plan with a total in `range` for which the fewest parameters change from `current`. Empty
  // when no total lies in the range.
  std::optional<StepPlan> Nearest(int64_t layers, const ParameterRange& range,
                                  const StepPlan& current) const;

 private:
  int64_t Distance(const StepPlan& a, const StepPlan& b) const;

  // Calls visit(plan, most) for every choice of all counts but mlp.steps, which has its least
  // value; `most` is its greatest. Ends when `visit` returns false.
  template <typename Visit>
  void ForEach(int64_t layers, Visit visit) const;

  const ModuleSpace& attention_;
  const ModuleSpace& mlp_;
};

}  // namespace espalier::search

#endif  // ESPALIER_COORDINATOR_SEARCH_STEP_PLAN_H_
