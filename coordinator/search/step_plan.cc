#include "coordinator/search/step_plan.h"

#include <algorithm>
#include <cstdlib>

namespace espalier::search {
namespace {

int64_t ClassParameters(const ModuleSpace& space, int64_t layers, const StepCounts& counts) {
  return layers * space.Parameters(0) + counts.steps * space.StepParameters() +
         counts.full * space.ShortStepParameters();
}

int64_t ClassDistance(const ModuleSpace& space, const StepCounts& a, const StepCounts& b) {
  return std::abs(a.steps - b.steps) * space.StepParameters() +
         std::abs(a.full - b.full) * space.ShortStepParameters();
}

int64_t MostFull(const ModuleSpace& space, int64_t layers) {
  return space.has_short_step() ? layers : 0;
}

int64_t DivideUp(int64_t a, int64_t b) { return a > 0 ? (a + b - 1) / b : 0; }

}  // namespace

int64_t StepPlanner::Parameters(int64_t layers, const StepPlan& plan) const {
  return ClassParameters(attention_, layers, plan.attention) +
         ClassParameters(mlp_, layers, plan.mlp);
}

int64_t StepPlanner::Distance(const StepPlan& a, const StepPlan& b) const {
  return ClassDistance(attention_, a.attention, b.attention) + ClassDistance(mlp_, a.mlp, b.mlp);
}

template <typename Visit>
void StepPlanner::ForEach(int64_t layers, Visit visit) const {
  // A module at its full size has taken all full steps before the short one.
  for (int64_t full = 0; full <= MostFull(attention_, layers); ++full) {
    const int64_t most_steps = layers * attention_.regular_top();
    for (int64_t steps = full * attention_.regular_top(); steps <= most_steps; ++steps) {
      for (int64_t mlp_full = 0; mlp_full <= MostFull(mlp_, layers); ++mlp_full) {
        const StepPlan plan{.attention = {.steps = steps, .full = full},
                            .mlp = {.steps = mlp_full * mlp_.regular_top(), .full = mlp_full}};
        if (!visit(plan, layers * mlp_.regular_top())) return;
      }
    }
  }
}

std::optional<int64_t> StepPlanner::LargestTotal(int64_t layers,
                                                 const ParameterRange& range) const {
  const int64_t all =
      layers * (attention_.Parameters(attention_.top_level()) + mlp_.Parameters(mlp_.top_level()));
  if (all <= range.high) return all;
  std::optional<int64_t> largest;
  ForEach(layers, [&](const StepPlan& plan, int64_t most) {
    const int64_t room = range.high - Parameters(layers, plan);
    if (room < 0) return true;
    const int64_t added = std::min(room / mlp_.StepParameters(), most - plan.mlp.steps);
    const int64_t total = range.high - room + added * mlp_.StepParameters();
    largest = std::max(largest.value_or(total), total);
    return !range.Contains(*largest);
  });
  return largest;
}

std::optional<StepPlan> StepPlanner::Nearest(int64_t layers, const ParameterRange& range,
                                             const StepPlan& current) const {
  std::optional<StepPlan> nearest;
  int64_t least = 0;
  ForEach(layers, [&](StepPlan plan, int64_t most) {
    const int64_t total = Parameters(layers, plan);
    if (total > range.high) return true;
    const int64_t low = plan.mlp.steps + DivideUp(range.low - total, mlp_.StepParameters());
    const int64_t high =
        std::min(most, plan.mlp.steps + (range.high - total) / mlp_.StepParameters());
    if (low > high) return true;
    plan.mlp.steps = std::clamp(current.mlp.steps, low, high);
    const int64_t distance = Distance(plan, current);
    if (!nearest || distance < least) {
      nearest = plan;
      least = distance;
    }
    return true;
  });
  return nearest;
}

}  // namespace espalier::search
