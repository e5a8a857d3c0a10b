#include "coordinator/search/step_plan.h"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <set>

#include "common/rng.h"
#include "gtest/gtest.h"

namespace espalier::search {
namespace {

ModuleSpace RandomSpace(RandomStream& random) {
  return ModuleSpace({.masks = 1 + static_cast<int64_t>(random.Below(2)),
                      .units = 1 + static_cast<int64_t>(random.Below(9)),
                      .step = 1 + static_cast<int64_t>(random.Below(4)),
                      .min_ratio = 0.25 * static_cast<double>(random.Below(5)),
                      .parameters_per_unit = 1 + static_cast<int64_t>(random.Below(20))});
}

// Totals of `layers` modules, by trying every size in every layer.
std::set<int64_t> Totals(const ModuleSpace& space, int64_t layers) {
  std::set<int64_t> totals = {0};
  for (int64_t l = 0; l < layers; ++l) {
    std::set<int64_t> next;
    for (int64_t total : totals) {
      for (int level = 0; level <= space.top_level(); ++level) {
        next.insert(total + space.Parameters(level));
      }
    }
    totals = next;
  }
  return totals;
}

TEST(StepPlannerTest, LargestTotalEqualsEnumeration) {
  RandomStream random(3, RandomPurpose::kTest, 0, 0);
  for (int trial = 0; trial < 300; ++trial) {
    const ModuleSpace attention = RandomSpace(random);
    const ModuleSpace mlp = RandomSpace(random);
    const int64_t layers = 1 + static_cast<int64_t>(random.Below(4));
    const int64_t high = static_cast<int64_t>(random.Below(400));
    std::optional<int64_t> expected;
    for (int64_t a : Totals(attention, layers)) {
      for (int64_t m : Totals(mlp, layers)) {
        if (a + m <= high) expected = std::max(expected.value_or(0), a + m);
      }
    }
    EXPECT_EQ(StepPlanner(attention, mlp).LargestTotal(layers, {.low = high, .high = high}),
              expected);
  }
}

TEST(StepPlannerTest, NearestExistsExactlyWhenEnumerationFindsATotal) {
  RandomStream random(4, RandomPurpose::kTest, 0, 0);
  int found = 0;
  for (int trial = 0; trial < 1000; ++trial) {
    const ModuleSpace attention = RandomSpace(random);
    const ModuleSpace mlp = RandomSpace(random);
    const int64_t layers = 1 + static_cast<int64_t>(random.Below(3));
    const int64_t all =
        layers * (attention.Parameters(attention.top_level()) + mlp.Parameters(mlp.top_level()));
    const int64_t low = static_cast<int64_t>(random.Below(all));
    const ParameterRange range{.low = low, .high = low + static_cast<int64_t>(random.Below(20))};
    bool exists = false;
    for (int64_t a : Totals(attention, layers)) {
      for (int64_t m : Totals(mlp, layers)) exists |= range.Contains(a + m);
    }
    const StepPlanner planner(attention, mlp);
    const std::optional<StepPlan> plan = planner.Nearest(layers, range, {});
    ASSERT_EQ(plan.has_value(), exists);
    if (!plan) continue;
    ++found;
    EXPECT_TRUE(range.Contains(planner.Parameters(layers, *plan)));
    EXPECT_LE(plan->mlp.full, mlp.has_short_step() ? layers : 0);
    EXPECT_GE(plan->mlp.steps, plan->mlp.full * mlp.regular_top());
    EXPECT_LE(plan->mlp.steps, layers * mlp.regular_top());
  }
  EXPECT_GT(found, 100);
}

TEST(StepPlannerTest, NearestChangesTheFewestParameters) {
  const ModuleSpace attention({.units = 4, .step = 1, .parameters_per_unit = 10});
  const ModuleSpace mlp({.units = 9, .step = 1, .parameters_per_unit = 7});
  const StepPlanner planner(attention, mlp);
  // Two layers, lowest total 2 * 17 = 34. From 54 (2 attention steps), 55 is one attention step
  // less and ... 34 + 21: three MLP steps for two attention steps.
  const std::optional<StepPlan> plan =
      planner.Nearest(2, {.low = 55, .high = 55}, {.attention = {.steps = 2}, .mlp = {}});
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(*plan, (StepPlan{.attention = {.steps = 0}, .mlp = {.steps = 3}}));
  // Already there: nothing changes.
  const StepPlan here{.attention = {.steps = 3}, .mlp = {.steps = 5}};
  EXPECT_EQ(planner.Nearest(2, {.low = 90, .high = 110}, here), here);
}

}  // namespace
}  // namespace espalier::search
