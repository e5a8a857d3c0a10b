#include "coordinator/jobs/losses.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace espalier {
namespace {

TEST(LossesTest, PerplexityIsExpOfTheMeanOverSequences) {
  // Two sequences of three predictions with mean losses ln 2 and ln 8: sqrt(2 · 8) = 4.
  EXPECT_NEAR(PerplexityOf({3 * std::log(2.0), 3 * std::log(8.0)}, 3), 4, 1e-14);
}

TEST(LossesTest, NoNumberIsAsBadAsCanBe) {
  EXPECT_EQ(PerplexityOf({std::nan("")}, 3), std::numeric_limits<double>::infinity());
}

TEST(LossesTest, RangesCoverEverySequenceOnce) {
  for (const int64_t count : {1, 2, 31, 32, 33, 64, 65, 1000}) {
    const Losses losses({.hash = "h", .sequence_length = 8, .count = count});
    int64_t next = 0;
    for (const Losses::Range& range : losses.Ranges()) {
      EXPECT_EQ(range.first, next);
      EXPECT_GT(range.count, 0);
      next += range.count;
    }
    EXPECT_EQ(next, count);
    EXPECT_LE(losses.Ranges().size(), 32u);
  }
}

TEST(LossesTest, TheOrderOfTheAnswersDoesNotMatter) {
  const DataSetInfo data_set{.hash = "h", .sequence_length = 4, .count = 3};
  const std::vector<double> sums = {1e-9, 3.3, 1e9 / 7};
  const auto collect = [&](const std::vector<int64_t>& order) {
    Losses losses(data_set);
    for (const int64_t i : order) {
      EXPECT_FALSE(losses.Complete());
      losses.Add(i, {.nll_sums = {sums[i] / 1e8}, .predictions_per_sequence = 3}, 0.5);
    }
    EXPECT_TRUE(losses.Complete());
    EXPECT_DOUBLE_EQ(losses.TokensPerSecond(), 4 * 3 / 1.5);
    return losses.Perplexity();
  };
  EXPECT_EQ(collect({0, 1, 2}), collect({2, 0, 1}));
  EXPECT_EQ(collect({0, 1, 2}), collect({1, 2, 0}));
}

TEST(LossesTest, DivergencesAreCheckedAndAveraged) {
  EvaluateWork work;
  work.count = 2;
  work.divergence = true;
  EvaluateResult result{.nll_sums = {1, 2}, .predictions_per_sequence = 7, .kl_sums = {0.7, 1.4}};
  EXPECT_TRUE(CheckEvaluation(result, work, 8).ok());
  EXPECT_DOUBLE_EQ(DivergenceOf(result.kl_sums, 7), 0.15);
  result.kl_sums[1] = -1e-6;  // rounding
  EXPECT_TRUE(CheckEvaluation(result, work, 8).ok());
  result.kl_sums[1] = -1;  // would beat every honest candidate
  EXPECT_FALSE(CheckEvaluation(result, work, 8).ok());
  result.kl_sums = {0.7};
  EXPECT_FALSE(CheckEvaluation(result, work, 8).ok());
  EXPECT_EQ(DivergenceOf({std::nan("")}, 7), std::numeric_limits<double>::infinity());
}

}  // namespace
}  // namespace espalier
