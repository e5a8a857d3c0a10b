#include "coordinator/search/allocation.h"

#include <algorithm>
#include <limits>

#include "common/rng.h"
#include "gtest/gtest.h"

namespace espalier::search {
namespace {

// Damages mostly descend with the size. A module in eight is not cut: it has one option, not empty.
CostedModules RandomModules(int64_t modules, int64_t most_options, int64_t most_parameters,
                            RandomStream& random) {
  CostedModules result(modules);
  for (auto& options : result) {
    std::vector<int64_t> sizes(1 + random.Below(most_options));
    for (int64_t& size : sizes) size = 1 + static_cast<int64_t>(random.Below(most_parameters));
    std::sort(sizes.begin(), sizes.end());
    if (random.Below(8) == 0) {
      options.push_back({.parameters = sizes.back(), .damage = 0});
      continue;
    }
    options.push_back({.parameters = 0, .damage = 1 + random.Uniform()});
    for (const int64_t size : sizes) {
      const double share = static_cast<double>(size) / static_cast<double>(sizes.back());
      options.push_back({.parameters = size, .damage = (1 - share) * 2 * random.Uniform()});
    }
  }
  return result;
}

// Calls visit(allocation) for every one.
template <typename Visit>
void ForEach(const CostedModules& modules, Visit visit) {
  Allocation allocation(modules.size(), 0);
  while (true) {
    visit(allocation);
    size_t m = 0;
    while (m < modules.size() && ++allocation[m] == std::ssize(modules[m])) allocation[m++] = 0;
    if (m == modules.size()) return;
  }
}

TEST(LeastDamageTest, IsTheLeastOfAllAllocationsInTheRange) {
  RandomStream random(1, RandomPurpose::kTest, 0, 0);
  int found = 0;
  int narrow = 0;
  for (int trial = 0; trial < 400; ++trial) {
    const CostedModules modules = RandomModules(1 + random.Below(5), 5, 40, random);
    const int64_t high = static_cast<int64_t>(random.Below(120));
    const ParameterRange range{.low = high - static_cast<int64_t>(random.Below(20)), .high = high};
    double least = std::numeric_limits<double>::infinity();
    ForEach(modules, [&](const Allocation& a) {
      if (range.Contains(TotalParameters(modules, a)) && TotalParameters(modules, a) > 0) {
        least = std::min(least, TotalDamage(modules, a));
      }
    });
    const auto allocation = LeastDamage(modules, range);
    ASSERT_EQ(allocation.has_value(), least < std::numeric_limits<double>::infinity()) << trial;
    if (!allocation) {
      ++narrow;
      continue;
    }
    ++found;
    ASSERT_TRUE(range.Contains(TotalParameters(modules, *allocation)));
    ASSERT_GT(TotalParameters(modules, *allocation), 0);
    ASSERT_NEAR(TotalDamage(modules, *allocation), least, 1e-12) << trial;
  }
  EXPECT_GT(found, 100);
  EXPECT_GT(narrow, 50);
}

// Sizes without a common divisor, far more than there are bins.
TEST(LeastDamageTest, IsLegalAndNearTheLeastWhenSizesAreRounded) {
  RandomStream random(2, RandomPurpose::kTest, 0, 0);
  for (int trial = 0; trial < 30; ++trial) {
    const CostedModules modules = RandomModules(6, 4, 1'000'000'000, random);
    Allocation full;
    for (const auto& options : modules) full.push_back(static_cast<int32_t>(options.size()) - 1);
    const auto high =
        static_cast<int64_t>(0.7 * static_cast<double>(TotalParameters(modules, full)));
    const ParameterRange range{.low = high / 2, .high = high};
    double least = std::numeric_limits<double>::infinity();
    double least_of_smaller = least;
    ForEach(modules, [&](const Allocation& a) {
      const int64_t total = TotalParameters(modules, a);
      if (!range.Contains(total)) return;
      least = std::min(least, TotalDamage(modules, a));
      if (total < high - 6 * (high / 8192 + 1)) {
        least_of_smaller = std::min(least_of_smaller, TotalDamage(modules, a));
      }
    });
    const auto allocation = LeastDamage(modules, range);
    ASSERT_EQ(allocation.has_value(), least < std::numeric_limits<double>::infinity());
    if (!allocation) continue;  // what is not cut is too large
    ASSERT_TRUE(range.Contains(TotalParameters(modules, *allocation)));
    EXPECT_GE(TotalDamage(modules, *allocation), least - 1e-12);
    EXPECT_LE(TotalDamage(modules, *allocation), least_of_smaller + 1e-12);
  }
}

// Smaller and better than anything in the range: only then are larger options worth nothing.
TEST(LeastDamageTest, TakesUselessOptionsToReachTheRange) {
  const CostedModules modules = {{{0, 5}, {10, 1}, {50, 1}, {60, 2}}, {{0, 5}, {10, 1}, {55, 3}}};
  EXPECT_EQ(LeastDamage(modules, {.low = 0, .high = 70}), (Allocation{1, 1}));
  EXPECT_EQ(LeastDamage(modules, {.low = 58, .high = 69}), (Allocation{2, 1}));
  EXPECT_EQ(LeastDamage(modules, {.low = 61, .high = 66}), (Allocation{1, 2}));
  EXPECT_EQ(LeastDamage(modules, {.low = 66, .high = 69}), std::nullopt);
}

TEST(LeastDamageTest, NeverLeavesNothing) {
  const CostedModules modules = {{{0, 0}, {10, 1}}, {{0, 0}, {20, 2}}};
  EXPECT_EQ(LeastDamage(modules, {.low = -5, .high = 9}), std::nullopt);
  EXPECT_EQ(LeastDamage(modules, {.low = -5, .high = 30}), (Allocation{1, 0}));
  EXPECT_EQ(LeastDamage(modules, {.low = -5, .high = -1}), std::nullopt);
}

TEST(FullestTest, HasTheMostParametersThatFit) {
  RandomStream random(3, RandomPurpose::kTest, 0, 0);
  for (int trial = 0; trial < 200; ++trial) {
    const CostedModules modules = RandomModules(1 + random.Below(5), 4, 60, random);
    const auto most = static_cast<int64_t>(random.Below(150));
    int64_t largest = 0;
    ForEach(modules, [&](const Allocation& a) {
      const int64_t total = TotalParameters(modules, a);
      if (total <= most) largest = std::max(largest, total);
    });
    const auto allocation = Fullest(modules, most);
    ASSERT_EQ(allocation.has_value(), largest > 0);
    if (allocation) {
      EXPECT_EQ(TotalParameters(modules, *allocation), largest);
    }
  }
}

TEST(TopUpTest, TakesTheBestPerParameterFirstAndAllThatFits) {
  const CostedModules modules = {{{0, 10}, {10, 5}, {30, 1}}, {{0, 3}, {10, 0}}};
  Allocation allocation = {0, 0};
  TopUp(modules, 15, {}, allocation);
  EXPECT_EQ(allocation, (Allocation{1, 0}));
  TopUp(modules, 45, {}, allocation);
  EXPECT_EQ(allocation, (Allocation{2, 1}));
  allocation = {0, 0};
  TopUp(modules, 45, {true, false}, allocation);
  EXPECT_EQ(allocation, (Allocation{0, 1}));
}

TEST(TopUpTest, LeavesNoUsefulOptionThatFits) {
  RandomStream random(4, RandomPurpose::kTest, 0, 0);
  for (int trial = 0; trial < 100; ++trial) {
    const CostedModules modules = RandomModules(4, 6, 50, random);
    Allocation allocation(4, 0);
    const int64_t most =
        TotalParameters(modules, allocation) + static_cast<int64_t>(random.Below(200));
    TopUp(modules, most, {}, allocation);
    const int64_t room = most - TotalParameters(modules, allocation);
    ASSERT_GE(room, 0);
    for (size_t m = 0; m < 4; ++m) {
      const CostedOption& now = modules[m][allocation[m]];
      for (const CostedOption& option : modules[m]) {
        const int64_t more = option.parameters - now.parameters;
        ASSERT_FALSE(more > 0 && more <= room && option.damage < now.damage);
      }
    }
  }
}

}  // namespace
}  // namespace espalier::search
