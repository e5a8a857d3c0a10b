#include "common/rng.h"

#include <cmath>
#include <map>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

using Block = std::array<uint32_t, 4>;

// Random123's known-answer vectors for philox4x32-10 (its file kat_vectors).
TEST(PhiloxTest, KnownAnswers) {
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}),
            (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(Philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

// Stored runs depend on this layout: it must never change.
TEST(RandomStreamTest, StreamIsPhiloxOfSeedPurposeGenerationSlot) {
  RandomStream stream(0x299f31d0a4093822, RandomPurpose::kMutation, 7, 9);
  for (uint32_t index = 0; index < 3; ++index) {
    for (uint32_t word : Philox4x32({index, 1, 7, 9}, {0xa4093822, 0x299f31d0})) {
      EXPECT_EQ(stream.Next32(), word);
    }
  }
}

TEST(RandomStreamTest, Next64TakesTheLowWordFirst) {
  RandomStream stream(0, RandomPurpose::kTest, 0, 0);
  EXPECT_EQ(stream.Next64(), 0xe169c58d6627e8d5);
  EXPECT_EQ(stream.Next64(), 0x9b00dbd8bc57ac4c);
}

TEST(RandomStreamTest, EveryCoordinateGivesAnotherStream) {
  std::set<uint64_t> firsts;
  firsts.insert(RandomStream(1, RandomPurpose::kMutation, 2, 3).Next64());
  firsts.insert(RandomStream(4, RandomPurpose::kMutation, 2, 3).Next64());
  firsts.insert(RandomStream(uint64_t{1} << 32 | 1, RandomPurpose::kMutation, 2, 3).Next64());
  firsts.insert(RandomStream(1, RandomPurpose::kCrossover, 2, 3).Next64());
  firsts.insert(RandomStream(1, RandomPurpose::kMutation, 3, 3).Next64());
  firsts.insert(RandomStream(1, RandomPurpose::kMutation, 2, 2).Next64());
  EXPECT_EQ(firsts.size(), 6);
}

TEST(RandomStreamTest, BelowStaysBelow) {
  RandomStream stream(5, RandomPurpose::kTest, 0, 0);
  EXPECT_EQ(stream.Below(1), 0);
  for (int i = 0; i < 1000; ++i) EXPECT_LT(stream.Below(3), 3);
  constexpr uint64_t kHuge = ~uint64_t{0};
  for (int i = 0; i < 100; ++i) EXPECT_LT(stream.Below(kHuge), kHuge);
}

// With bound = 3·2^62 the multiplication without rejection returns multiples of 3 for half of all
// draws instead of a third: a test that plain multiplication fails by 50 standard deviations.
TEST(RandomStreamTest, BelowIsUnbiasedForHugeBounds) {
  constexpr int kDraws = 30000;
  constexpr uint64_t kBound = uint64_t{3} << 62;
  RandomStream stream(11, RandomPurpose::kTest, 0, 0);
  std::array<int, 3> counts{};
  for (int i = 0; i < kDraws; ++i) ++counts[stream.Below(kBound) % 3];
  const double deviation = std::sqrt(kDraws * (1.0 / 3) * (2.0 / 3));
  for (int count : counts) EXPECT_NEAR(count, kDraws / 3.0, 4 * deviation);
}

TEST(RandomStreamTest, UniformIsInTheUnitIntervalWithItsMean) {
  constexpr int kDraws = 10000;
  RandomStream stream(3, RandomPurpose::kTest, 0, 0);
  double sum = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double value = stream.Uniform();
    ASSERT_GE(value, 0);
    ASSERT_LT(value, 1);
    sum += value;
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 4 * std::sqrt(1.0 / 12 / kDraws));
}

TEST(RandomStreamTest, BernoulliKnowsItsExtremes) {
  RandomStream stream(3, RandomPurpose::kTest, 0, 0);
  for (int i = 0; i < 100; ++i) {
    EXPECT_FALSE(stream.Bernoulli(0));
    EXPECT_TRUE(stream.Bernoulli(1));
  }
}

TEST(RandomStreamTest, SampleOfNoneAndAll) {
  RandomStream stream(3, RandomPurpose::kTest, 0, 0);
  EXPECT_THAT(stream.Sample(5, 0), IsEmpty());
  EXPECT_THAT(stream.Sample(0, 0), IsEmpty());
  EXPECT_THAT(stream.Sample(4, 4), ElementsAre(0, 1, 2, 3));
}

// All 10 subsets of 2 out of 5 appear, ascending, each as often as the others.
TEST(RandomStreamTest, SampleIsUniformOverSubsets) {
  constexpr int kDraws = 20000;
  RandomStream stream(17, RandomPurpose::kTest, 0, 0);
  std::map<std::vector<int64_t>, int> counts;
  for (int i = 0; i < kDraws; ++i) ++counts[stream.Sample(5, 2)];
  ASSERT_EQ(counts.size(), 10);
  const double deviation = std::sqrt(kDraws * 0.1 * 0.9);
  for (const auto& [subset, count] : counts) {
    EXPECT_LT(subset[0], subset[1]);
    EXPECT_NEAR(count, kDraws / 10.0, 4 * deviation);
  }
}

}  // namespace
}  // namespace espalier
