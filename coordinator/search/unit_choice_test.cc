#include "coordinator/search/unit_choice.h"

#include <numeric>

#include "coordinator/search/test_models.h"
#include "gtest/gtest.h"

namespace espalier::search {
namespace {

UnitOrder Ascending(int64_t units) {
  UnitOrder order(units);
  std::iota(order.begin(), order.end(), 0);
  return order;
}

// The `size` first of `units`.
Bitmask Prefix(int64_t units, int64_t size) { return TopUnits(Ascending(units), size); }

TEST(TopUnitsTest, TakesTheFirstOfTheOrder) {
  EXPECT_EQ(TopUnits({3, 1, 0, 2}, 2), Bitmask::FromIndices(4, {1, 3}));
  EXPECT_EQ(TopUnits({3, 1, 0, 2}, 0).Count(), 0);
}

TEST(RandomUnitsTest, IsUniformOverUnits) {
  constexpr int kDraws = 4000;
  RandomStream random(1, RandomPurpose::kTest, 0, 0);
  std::vector<int> times(10);
  for (int i = 0; i < kDraws; ++i) {
    const Bitmask mask = RandomUnits(10, 3, random);
    ASSERT_EQ(mask.Count(), 3);
    for (int64_t unit : mask.Indices()) ++times[unit];
  }
  // Each unit is binomial with p = 0.3; the sum of squared deviations over n p (1 - p) has mean 10
  // and standard deviation about 4.5 (the draws are negatively correlated, which lessens both).
  double deviation = 0;
  for (int count : times) {
    deviation += (count - 0.3 * kDraws) * (count - 0.3 * kDraws) / (kDraws * 0.3 * 0.7);
  }
  EXPECT_LT(deviation, 30);
}

TEST(ResizeMaskTest, OnlyDropsOrOnlyAdds) {
  RandomStream random(2, RandomPurpose::kTest, 0, 0);
  const Bitmask old_mask = RandomUnits(100, 50, random);
  for (int64_t size : {1, 30, 49, 50, 51, 80, 100}) {
    const Bitmask mask = ResizeMask({old_mask, 50}, size, Ascending(100), random);
    EXPECT_EQ(mask.Count(), size);
    EXPECT_EQ(Shared(mask, old_mask), std::min<int64_t>(size, 50));
  }
}

TEST(ResizeMaskTest, MovesUnitsNearTheBoundary) {
  RandomStream random(3, RandomPurpose::kTest, 0, 0);
  const UnitOrder order = Ascending(100);
  bool differs = false;
  const Bitmask first = ResizeMask({Prefix(100, 50), 50}, 45, order, random);
  for (int i = 0; i < 20; ++i) {
    const Bitmask smaller = ResizeMask({Prefix(100, 50), 50}, 45, order, random);
    EXPECT_EQ(Shared(smaller, Prefix(100, 40)), 40);  // the ten lowest are the pool
    const Bitmask larger = ResizeMask({Prefix(100, 50), 50}, 55, order, random);
    EXPECT_EQ(Shared(larger, Prefix(100, 60)), 55);
    differs |= smaller != first;
  }
  EXPECT_TRUE(differs);
}

TEST(MostExchangedTest, KeepsTheShareOfTheSmallerMask) {
  EXPECT_EQ(MostExchanged(100, 50, 50, 0.8), 10);
  EXPECT_EQ(MostExchanged(100, 50, 30, 0.8), 6);
  EXPECT_EQ(MostExchanged(100, 30, 50, 0.8), 6);
  EXPECT_EQ(MostExchanged(100, 10, 10, 0.7), 3);  // 0.7 * 10 is not raised by rounding
  EXPECT_EQ(MostExchanged(100, 50, 50, 1), 0);
  EXPECT_EQ(MostExchanged(100, 50, 50, 0), 50);
  EXPECT_EQ(MostExchanged(100, 4, 4, 0.8), 0);
}

TEST(MostExchangedTest, NeedsUnitsToComeIn) {
  EXPECT_EQ(MostExchanged(100, 95, 95, 0.8), 5);
  EXPECT_EQ(MostExchanged(100, 100, 100, 0.8), 0);
  EXPECT_EQ(MostExchanged(100, 50, 98, 0.8), 2);
  EXPECT_EQ(MostExchanged(100, 98, 50, 0.8), 2);
}

TEST(RedrawMaskTest, ExchangesExactlyAsManyAsAsked) {
  RandomStream random(4, RandomPurpose::kTest, 0, 0);
  for (int trial = 0; trial < 2000; ++trial) {
    const int64_t units = 1 + static_cast<int64_t>(random.Below(70));
    const int64_t old_size = 1 + static_cast<int64_t>(random.Below(units));
    const int64_t size = 1 + static_cast<int64_t>(random.Below(units));
    const double overlap = random.Uniform();
    const Bitmask old_mask = RandomUnits(units, old_size, random);
    const int64_t most = MostExchanged(units, old_size, size, overlap);
    const int64_t exchanged = static_cast<int64_t>(random.Below(most + 1));
    const Bitmask mask =
        RedrawMask({old_mask, old_size}, size, exchanged, Ascending(units), random);
    const int64_t smaller = std::min(old_size, size);
    ASSERT_EQ(mask.Count(), size);
    ASSERT_EQ(Shared(mask, old_mask), smaller - exchanged);
    ASSERT_GE(static_cast<double>(Shared(mask, old_mask)),
              overlap * static_cast<double>(smaller) - 1e-9);
  }
}

TEST(RedrawMaskTest, PrefersLowScoresToGoButReachesEveryUnit) {
  constexpr int kDraws = 4000;
  RandomStream random(5, RandomPurpose::kTest, 0, 0);
  std::vector<int> changed(40);
  for (int i = 0; i < kDraws; ++i) {
    const Bitmask mask = RedrawMask({Prefix(40, 20), 20}, 20, 2, Ascending(40), random);
    for (int64_t unit = 0; unit < 40; ++unit) changed[unit] += mask.Test(unit) != (unit < 20);
  }
  for (int count : changed) EXPECT_GT(count, 0);
  EXPECT_GT(changed[19], 4 * changed[0]);   // lowest of the kept against the highest
  EXPECT_GT(changed[20], 4 * changed[39]);  // highest of the omitted against the lowest
}

}  // namespace
}  // namespace espalier::search
