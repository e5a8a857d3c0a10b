#include "common/bitmask.h"

#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(BitmaskTest, IsEmptyByDefault) {
  const Bitmask mask;
  EXPECT_EQ(mask.size(), 0);
  EXPECT_EQ(mask.Count(), 0);
  EXPECT_FALSE(mask.Any());
  EXPECT_TRUE(mask.All());
  EXPECT_EQ(mask.ToHex(), "");
}

TEST(BitmaskTest, FillsOnlyBitsThatExist) {
  for (int64_t size : {1, 7, 8, 9, 15, 16, 17, 32}) {
    const Bitmask ones(size, true);
    EXPECT_EQ(ones.Count(), size);
    EXPECT_TRUE(ones.All());
    // The last byte's unused bits are zero, or reading the bytes back would refuse them.
    ASSERT_TRUE(Bitmask::FromBytes(size, ones.bytes()).ok()) << size;
    EXPECT_FALSE(Bitmask(size).Any());
  }
}

TEST(BitmaskTest, BitIIsBitIModEightOfByteIDivEight) {
  const Bitmask mask = Bitmask::FromIndices(12, {0, 3, 9});
  EXPECT_EQ(mask.ToHex(), "0902");
  EXPECT_TRUE(mask.Test(0));
  EXPECT_FALSE(mask.Test(1));
  EXPECT_TRUE(mask.Test(9));
  EXPECT_THAT(mask.Indices(), ElementsAre(0, 3, 9));
  EXPECT_THAT(mask.ClearIndices(), ElementsAre(1, 2, 4, 5, 6, 7, 8, 10, 11));
}

TEST(BitmaskTest, SetsAndClears) {
  Bitmask mask(16);
  mask.Set(7);
  mask.Set(8);
  EXPECT_EQ(mask.ToHex(), "8001");
  mask.Set(7, false);
  EXPECT_THAT(mask.Indices(), ElementsAre(8));
  mask.Set(8, false);
  EXPECT_THAT(mask.Indices(), IsEmpty());
}

TEST(BitmaskTest, CountsTheSetBitsOfAnySize) {
  for (int64_t size = 0; size < 200; ++size) {
    Bitmask mask(size);
    int64_t set = 0;
    for (int64_t i = 0; i < size; i += 1 + i % 3, ++set) mask.Set(i);
    EXPECT_EQ(mask.Count(), set) << size;
    EXPECT_EQ(Bitmask(size, true).Count(), size);
  }
}

TEST(BitmaskTest, ReadsBothCasesOfHex) {
  const auto lower = Bitmask::FromHex(16, "afc0");
  const auto upper = Bitmask::FromHex(16, "AFC0");
  ASSERT_TRUE(lower.ok());
  ASSERT_TRUE(upper.ok());
  EXPECT_EQ(*lower, *upper);
  EXPECT_EQ(lower->ToHex(), "afc0");
}

TEST(BitmaskTest, EqualityIncludesTheSize) { EXPECT_NE(Bitmask(9), Bitmask(10)); }

TEST(BitmaskTest, RefusesWrongLengths) {
  EXPECT_EQ(Bitmask::FromBytes(9, "a").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(Bitmask::FromBytes(8, "aa").ok());
  EXPECT_FALSE(Bitmask::FromBytes(-1, "").ok());
  EXPECT_THAT(Bitmask::FromHex(12, "fff").status().message(),
              HasSubstr("12 bits takes 4 hexadecimal digits, got 3"));
}

TEST(BitmaskTest, RefusesTheLargestSizes) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  EXPECT_FALSE(Bitmask::FromBytes(kMax, "a").ok());
  EXPECT_FALSE(Bitmask::FromHex(kMax, "aa").ok());
  EXPECT_FALSE(Bitmask::FromHex(kMax, "").ok());
}

TEST(BitmaskTest, RefusesBitsBeyondTheEnd) {
  EXPECT_TRUE(Bitmask::FromHex(12, "ff0f").ok());
  EXPECT_THAT(Bitmask::FromHex(12, "ff1f").status().message(), HasSubstr("12 bits"));
}

TEST(BitmaskTest, RefusesWhatIsNotHex) {
  EXPECT_THAT(Bitmask::FromHex(8, "g0").status().message(), HasSubstr("character 1"));
  EXPECT_THAT(Bitmask::FromHex(16, "00x0").status().message(), HasSubstr("character 3"));
}

}  // namespace
}  // namespace espalier
