#include "common/plan/stage_split.h"

#include <algorithm>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

StageProblem EqualLayers(int64_t layers) {
  return {.layers = std::vector<StageLoad>(layers, {.bytes = 10, .work = 4}),
          .head = {},
          .tail = {},
          .every = {}};
}

// (largest work, largest bytes).
using Score = std::pair<double, int64_t>;

Score ScoreOf(const StageProblem& problem, const std::vector<StageRange>& ranges) {
  Score score{0, 0};
  for (const StageRange& range : ranges) {
    const StageLoad load = LoadOf(problem, range);
    score = {std::max(score.first, load.work), std::max(score.second, load.bytes)};
  }
  return score;
}

// The best score of all splits within the limit, by trying every set of cuts. (−1, −1): none.
Score BruteForce(const StageProblem& problem, int64_t stages, int64_t limit) {
  const auto layers = static_cast<int64_t>(problem.layers.size());
  Score best{-1, -1};
  for (uint32_t cuts = 0; cuts < (1u << (layers - 1)); ++cuts) {
    if (__builtin_popcount(cuts) != stages - 1) continue;
    std::vector<StageRange> ranges;
    int64_t first = 0;
    for (int64_t i = 1; i <= layers; ++i) {
      if (i < layers && (cuts >> (i - 1) & 1u) == 0) continue;
      ranges.push_back({first, i - first});
      first = i;
    }
    const Score score = ScoreOf(problem, ranges);
    if (score.second > limit) continue;
    if (best.first < 0 || score < best) best = score;
  }
  return best;
}

TEST(StageSplitTest, OneStageHoldsEverything) {
  const auto split = SplitIntoStages(EqualLayers(7), 1);
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_THAT(*split, ElementsAre(StageRange{0, 7}));
}

TEST(StageSplitTest, EqualLayersAreDividedEqually) {
  const auto split = SplitIntoStages(EqualLayers(8), 4);
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_THAT(*split,
              ElementsAre(StageRange{0, 2}, StageRange{2, 2}, StageRange{4, 2}, StageRange{6, 2}));
}

TEST(StageSplitTest, TheHeadsWorkMovesTheCuts) {
  StageProblem problem = EqualLayers(9);
  problem.tail.work = 12;  // as three layers
  const auto split = SplitIntoStages(problem, 3);
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_THAT(*split, ElementsAre(StageRange{0, 4}, StageRange{4, 4}, StageRange{8, 1}));
}

TEST(StageSplitTest, BytesDecideAmongEquallyFastSplits) {
  StageProblem problem = EqualLayers(5);
  problem.head.bytes = 15;
  const auto split = SplitIntoStages(problem, 2);  // 2 + 3 or 3 + 2 layers
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_THAT(*split, ElementsAre(StageRange{0, 2}, StageRange{2, 3}));
}

TEST(StageSplitTest, TheLimitComesBeforeTheWork) {
  StageProblem problem = EqualLayers(4);
  problem.head.bytes = 15;
  const auto split = SplitIntoStages(problem, 2, /*byte_limit=*/30);
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_THAT(*split, ElementsAre(StageRange{0, 1}, StageRange{1, 3}));
}

TEST(StageSplitTest, WhatDoesNotFitIsRefusedWithItsSize) {
  StageProblem problem = EqualLayers(4);
  problem.every.bytes = 5;
  const auto split = SplitIntoStages(problem, 2, /*byte_limit=*/24);
  EXPECT_EQ(split.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(split.status().message()), HasSubstr("at least 25 bytes"));
}

TEST(StageSplitTest, StagesAreNeverEmpty) {
  EXPECT_EQ(SplitIntoStages(EqualLayers(3), 4).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(SplitIntoStages(EqualLayers(3), 0).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(SplitIntoStages({}, 1).status().code(), absl::StatusCode::kInvalidArgument);
}

// Whole numbers as work, so that sums in another order are equal.
StageProblem RandomProblem(std::mt19937& random) {
  const auto draw = [&random](int most) {
    return StageLoad{static_cast<int64_t>(random() % most), static_cast<double>(random() % most)};
  };
  StageProblem problem;
  const size_t layers = 1 + random() % 9;
  for (size_t i = 0; i < layers; ++i) problem.layers.push_back(draw(8));
  problem.head = draw(12);
  problem.tail = draw(12);
  problem.every = draw(3);
  return problem;
}

TEST(StageSplitTest, IsAsGoodAsTryingEverySplit) {
  std::mt19937 random(7);
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    const StageProblem problem = RandomProblem(random);
    const auto layers = static_cast<int64_t>(problem.layers.size());
    const int64_t stages = 1 + static_cast<int64_t>(random()) % layers;
    const int64_t limit = round % 3 == 0 ? kNoByteLimit : static_cast<int64_t>(random() % 40);
    const Score expected = BruteForce(problem, stages, limit);
    const auto split = SplitIntoStages(problem, stages, limit);
    if (!split.ok()) {
      EXPECT_EQ(expected, Score(-1, -1)) << "round " << round;
      ++refused;
      continue;
    }
    ASSERT_EQ(static_cast<int64_t>(split->size()), stages);
    int64_t next = 0;
    for (const StageRange& range : *split) {
      EXPECT_EQ(range.first, next);
      EXPECT_GE(range.count, 1);
      next += range.count;
    }
    EXPECT_EQ(next, layers);
    EXPECT_EQ(ScoreOf(problem, *split), expected) << "round " << round;
  }
  EXPECT_GT(refused, 100);
  EXPECT_LT(refused, 2000);
}

}  // namespace
}  // namespace espalier
