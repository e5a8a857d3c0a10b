#include "coordinator/search/allocation_moves.h"

#include <set>

#include "coordinator/search/test_models.h"
#include "gtest/gtest.h"

namespace espalier::search {
namespace {

// Two layers; an attention has two cuts of each of three sizes, an MLP seven of 10.
CostedModules Modules() {
  const std::vector<CostedOption> attention = {{0, 9},  {10, 6}, {10, 7}, {20, 3},
                                               {20, 4}, {30, 1}, {30, 2}, {40, 0}};
  std::vector<CostedOption> mlp;
  for (int64_t i = 0; i <= 8; ++i) mlp.push_back({.parameters = 10 * i, .damage = 8.0 - i});
  return {attention, mlp, attention, mlp};
}

constexpr ParameterRange kRange = {.low = 170, .high = 170};

bool Always(const Allocation&) { return true; }

TEST(AllocationMovesTest, OffspringAreLegalAndNearTheirParent) {
  const AllocationMoves moves(Modules(), kRange);
  const Allocation parent = {3, 6, 5, 6};
  ASSERT_EQ(TotalParameters(moves.modules(), parent), 170);
  std::set<Allocation> all;
  for (uint32_t slot = 0; slot < 500; ++slot) {
    RandomStream random(1, RandomPurpose::kTest, 0, slot);
    const auto offspring = moves.Draw(parent, 1, Always, random);
    ASSERT_TRUE(offspring.has_value());
    ASSERT_EQ(TotalParameters(moves.modules(), *offspring), 170);
    all.insert(*offspring);
  }
  EXPECT_GT(all.size(), 50u);
  EXPECT_TRUE(all.contains({4, 6, 5, 6}));  // an exchange
  EXPECT_TRUE(all.contains({3, 5, 5, 7}));  // a step from MLP to MLP
}

TEST(AllocationMovesTest, GivesOnlyWhatIsNew) {
  const AllocationMoves moves(Modules(), kRange);
  const Allocation parent = {3, 6, 5, 6};
  std::set<Allocation> seen = {parent};
  uint32_t slot = 0;
  while (true) {
    RandomStream random(2, RandomPurpose::kTest, 0, slot++);
    const auto offspring = moves.Draw(
        parent, 4, [&](const Allocation& a) { return !seen.contains(a); }, random);
    if (!offspring) break;
    ASSERT_TRUE(seen.insert(*offspring).second);
  }
  EXPECT_GT(seen.size(), 100u);
  RandomStream random(2, RandomPurpose::kTest, 1, 0);
  EXPECT_EQ(moves.Draw(
                parent, 4, [](const Allocation&) { return false; }, random),
            std::nullopt);
}

TEST(AllocationMovesTest, PrefersWhatIsPredictedToBeBetter) {
  const AllocationMoves moves(Modules(), kRange);
  const Allocation parent = {3, 6, 5, 6};
  const auto mean = [&](int drafts) {
    double sum = 0;
    for (uint32_t slot = 0; slot < 300; ++slot) {
      RandomStream random(3, RandomPurpose::kTest, 0, slot);
      sum += TotalDamage(moves.modules(), *moves.Draw(parent, drafts, Always, random));
    }
    return sum / 300;
  };
  EXPECT_LT(mean(8), mean(1) - 0.5);
}

TEST(AllocationMovesTest, FillsTheRoomThatCoarseCutsLeave) {
  // Taking the third of an attention leaves what only MLPs have the steps for.
  CostedModules modules = {{{0, 9}, {33, 1}, {60, 0}}, {}, {{0, 9}, {33, 1}, {60, 0}}, {}};
  for (const size_t m : {1, 3}) {
    for (int64_t i = 0; i <= 60; ++i) {
      modules[m].push_back({.parameters = i, .damage = static_cast<double>(60 - i) / 10});
    }
  }
  const AllocationMoves moves(modules, {.low = 0, .high = 150});
  const Allocation parent = {2, 30, 2, 0};
  for (uint32_t slot = 0; slot < 200; ++slot) {
    RandomStream random(4, RandomPurpose::kTest, 0, slot);
    const auto offspring = moves.Draw(parent, 8, Always, random);
    ASSERT_TRUE(offspring.has_value());
    EXPECT_EQ(TotalParameters(modules, *offspring), 150);
  }
}

}  // namespace
}  // namespace espalier::search
