#include "coordinator/search/module_space.h"

#include <set>
#include <vector>

#include "gtest/gtest.h"

namespace espalier::search {
namespace {

std::vector<int64_t> Sizes(const ModuleSpace& space) {
  std::vector<int64_t> sizes;
  for (int level = 0; level <= space.top_level(); ++level) sizes.push_back(space.Size(level));
  return sizes;
}

TEST(ModuleSpaceTest, SizesAreMultiplesFromTheMinimumOnAndTheFullSize) {
  EXPECT_EQ(Sizes(ModuleSpace({.units = 16, .step = 4, .min_ratio = 0.3})),
            (std::vector<int64_t>{8, 12, 16}));
  EXPECT_EQ(Sizes(ModuleSpace({.units = 18, .step = 4})), (std::vector<int64_t>{4, 8, 12, 16, 18}));
  EXPECT_EQ(Sizes(ModuleSpace({.units = 3, .step = 64})), (std::vector<int64_t>{3}));
  EXPECT_EQ(Sizes(ModuleSpace({.units = 10, .step = 1, .min_ratio = 1})),
            (std::vector<int64_t>{10}));
}

TEST(ModuleSpaceTest, MinimumIsNotRaisedByRounding) {
  // 0.6 * 20 and 0.7 * 10 are a little more than 12 and 7 in binary or not, depending on luck.
  EXPECT_EQ(ModuleSpace({.units = 20, .min_ratio = 0.6}).Size(0), 12);
  EXPECT_EQ(ModuleSpace({.units = 10, .min_ratio = 0.7}).Size(0), 7);
  EXPECT_EQ(ModuleSpace({.units = 100, .min_ratio = 0.29}).Size(0), 29);
}

TEST(ModuleSpaceTest, ParametersCountEveryMask) {
  const ModuleSpace space({.masks = 3, .units = 18, .step = 4, .parameters_per_unit = 10});
  EXPECT_EQ(space.Parameters(0), 3 * 4 * 10);
  EXPECT_EQ(space.Parameters(space.top_level()), 3 * 18 * 10);
  EXPECT_EQ(space.StepParameters(), 3 * 4 * 10);
  EXPECT_TRUE(space.has_short_step());
  EXPECT_EQ(space.ShortStepParameters(), 3 * 2 * 10);
  EXPECT_EQ(space.regular_top(), 3);
}

TEST(ModuleSpaceTest, WithoutRemainderEveryStepIsFull) {
  const ModuleSpace space({.units = 16, .step = 4});
  EXPECT_FALSE(space.has_short_step());
  EXPECT_EQ(space.ShortStepParameters(), 0);
  EXPECT_EQ(space.regular_top(), space.top_level());
}

TEST(ModuleSpaceTest, LevelOfIsTheInverseOfSize) {
  const ModuleSpace space({.units = 18, .step = 4, .min_ratio = 0.3});
  for (int level = 0; level <= space.top_level(); ++level) {
    EXPECT_EQ(space.LevelOf(space.Size(level)), level);
  }
  EXPECT_EQ(space.LevelOf(1), 0);
  EXPECT_EQ(space.LevelOf(13), space.LevelOf(12));
}

TEST(ModuleSpaceTest, NearestLevelRoundsUpInTheMiddle) {
  const ModuleSpace space({.units = 20, .step = 4});  // 4 8 12 16 20
  EXPECT_EQ(space.Size(space.NearestLevel(0)), 4);
  EXPECT_EQ(space.Size(space.NearestLevel(0.49)), 8);
  EXPECT_EQ(space.Size(space.NearestLevel(0.5)), 12);
  EXPECT_EQ(space.Size(space.NearestLevel(0.69)), 12);
  EXPECT_EQ(space.Size(space.NearestLevel(1)), 20);
}

TEST(ModuleSpaceTest, DrawsExactlyTheRatiosOfTheSearchSpace) {
  // Ratios 1, 0.95, ... 0.6: nine sizes of 100 units.
  const ModuleSpace space({.units = 100, .min_ratio = 0.6, .ratio_grid = 20});
  RandomStream random(1, RandomPurpose::kTest, 0, 0);
  std::set<int64_t> drawn;
  for (int i = 0; i < 500; ++i) {
    drawn.insert(space.Size(space.DrawLevel(0, space.ratio_steps(), random)));
  }
  EXPECT_EQ(drawn, (std::set<int64_t>{60, 65, 70, 75, 80, 85, 90, 95, 100}));
}

TEST(ModuleSpaceTest, DrawsWithinReachOfTheOldRatio) {
  const ModuleSpace space({.units = 100, .min_ratio = 0.6, .ratio_grid = 20});
  RandomStream random(1, RandomPurpose::kTest, 0, 0);
  const auto drawn_from = [&](int64_t size) {
    std::set<int64_t> drawn;
    for (int i = 0; i < 200; ++i) {
      drawn.insert(space.Size(space.DrawLevel(space.LevelOf(size), 2, random)));
    }
    return drawn;
  };
  EXPECT_EQ(drawn_from(80), (std::set<int64_t>{70, 75, 80, 85, 90}));
  EXPECT_EQ(drawn_from(100), (std::set<int64_t>{90, 95, 100}));
  EXPECT_EQ(drawn_from(60), (std::set<int64_t>{60, 65, 70}));
}

TEST(ModuleSpaceTest, DrawsNoEmptyModuleWhenTheMinimumIsZero) {
  const ModuleSpace space({.units = 4, .min_ratio = 0, .ratio_grid = 4});
  RandomStream random(1, RandomPurpose::kTest, 0, 0);
  std::set<int64_t> drawn;
  for (int i = 0; i < 200; ++i) {
    drawn.insert(space.Size(space.DrawLevel(0, space.ratio_steps(), random)));
  }
  EXPECT_EQ(drawn, (std::set<int64_t>{1, 2, 3, 4}));
}

}  // namespace
}  // namespace espalier::search
