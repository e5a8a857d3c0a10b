#include "coordinator/search/repair.h"

#include <cstdlib>
#include <optional>
#include <utility>
#include <vector>

namespace espalier::search {
namespace {

// One present module.
struct Module {
  const ModuleSpace* space;
  int* level;
};

std::vector<Module> AttentionModules(const SearchSpace& space, Levels& levels) {
  std::vector<Module> modules;
  for (LayerLevels& layer : levels) {
    if (layer.present()) modules.push_back({&space.attention(), &layer.attention});
  }
  return modules;
}

std::vector<Module> MlpModules(const SearchSpace& space, Levels& levels) {
  std::vector<Module> modules;
  for (LayerLevels& layer : levels) {
    if (layer.present()) modules.push_back({&space.mlp(), &layer.mlp});
  }
  return modules;
}

// A random one of the remaining, taken out of the bag.
template <typename T>
T Take(std::vector<T>& bag, RandomStream& random) {
  std::swap(bag[random.Below(bag.size())], bag.back());
  T taken = bag.back();
  bag.pop_back();
  return taken;
}

// Each module as often as it can step in `direction` without leaving levels 0 .. top(module).
template <typename Top>
std::vector<Module> Steps(const std::vector<Module>& modules, int direction, Top top) {
  std::vector<Module> steps;
  for (const Module& module : modules) {
    const int room = direction > 0 ? top(module) - *module.level : *module.level;
    steps.insert(steps.end(), room, module);
  }
  return steps;
}

// Takes random steps towards the window, none beyond it. Returns the new total.
int64_t Approach(const SearchSpace& space, int64_t total, RandomStream& random, Levels* levels) {
  const ParameterRange& range = space.range();
  const int direction = total > range.high ? -1 : 1;
  std::vector<Module> modules = AttentionModules(space, *levels);
  const std::vector<Module> mlps = MlpModules(space, *levels);
  modules.insert(modules.end(), mlps.begin(), mlps.end());
  std::vector<Module> steps =
      Steps(modules, direction, [](const Module& module) { return module.space->top_level(); });
  while (!range.Contains(total) && !steps.empty()) {
    const Module module = Take(steps, random);
    const int next = *module.level + direction;
    const int64_t moved =
        total + module.space->Parameters(next) - module.space->Parameters(*module.level);
    // The distance only shrinks: a step that is too long now will always be.
    if (direction > 0 ? moved > range.high : moved < range.low) continue;
    *module.level = next;
    total = moved;
  }
  return total;
}

bool IsFull(const Module& module) {
  return module.space->has_short_step() && *module.level == module.space->top_level();
}

StepCounts CountSteps(const std::vector<Module>& modules) {
  StepCounts counts;
  for (const Module& module : modules) {
    const bool full = IsFull(module);
    counts.full += full ? 1 : 0;
    counts.steps += full ? module.space->regular_top() : *module.level;
  }
  return counts;
}

// Makes `count` random modules full; others that were full lose their short step only.
void SetFull(const std::vector<Module>& modules, int64_t count, RandomStream& random) {
  std::vector<Module> full;
  std::vector<Module> others;
  for (const Module& module : modules) (IsFull(module) ? full : others).push_back(module);
  int64_t have = static_cast<int64_t>(full.size());
  for (; have > count; --have) *Take(full, random).level -= 1;
  for (; have < count; ++have) {
    const Module raised = Take(others, random);
    *raised.level = raised.space->top_level();
  }
}

// Brings the modules of one kind to the counts, at random places.
void SetCounts(const std::vector<Module>& modules, const StepCounts& target, RandomStream& random) {
  SetFull(modules, target.full, random);
  std::vector<Module> others;
  for (const Module& module : modules) {
    if (!IsFull(module)) others.push_back(module);
  }
  const int64_t missing = target.steps - CountSteps(modules).steps;
  const int direction = missing > 0 ? 1 : -1;
  std::vector<Module> steps =
      Steps(others, direction, [](const Module& module) { return module.space->regular_top(); });
  for (int64_t i = 0; i < std::abs(missing); ++i) *Take(steps, random).level += direction;
}

}  // namespace

void RepairLevels(const SearchSpace& space, RandomStream& random, Levels* levels) {
  int64_t total = space.Parameters(*levels);
  if (!space.range().Contains(total)) total = Approach(space, total, random, levels);
  if (space.range().Contains(total)) return;

  const std::vector<Module> attention = AttentionModules(space, *levels);
  const std::vector<Module> mlp = MlpModules(space, *levels);
  const int64_t layers = PresentLayers(*levels);
  const std::optional<StepPlan> plan =
      space.planner().Nearest(layers, space.ModuleRange(layers),
                              {.attention = CountSteps(attention), .mlp = CountSteps(mlp)});
  if (!plan) return;  // excluded by the requirement
  SetCounts(attention, plan->attention, random);
  SetCounts(mlp, plan->mlp, random);
}

}  // namespace espalier::search
