#include "coordinator/jobs/model_holders.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;
using State = ModelHolders::State;
using Statistics = ModelHolders::Statistics;

const std::vector<std::set<std::string>> kNames = {{"embed", "layer0"}, {"embed", "layer1"}};

Replica TwoStages(ReplicaKey key, WorkerKey first, WorkerKey second) {
  return {.key = key, .workers = {first, second}, .label = "two", .window = {}};
}

LoadResult Part(const std::set<std::string>& names, char content) {
  LoadResult part{.digest = {.description = "shape", .tensors = {}}};
  for (const std::string& name : names) part.digest.tensors[name] = std::string(64, content);
  return part;
}

std::vector<LoadResult> Parts(char first = 'a', char second = 'a') {
  return {Part(kNames[0], first), Part(kNames[1], second)};
}

TEST(ModelHoldersTest, TheFirstLoadFixesTheContent) {
  ModelHolders holders;
  holders.Loading(1);
  holders.Loading(2);
  EXPECT_EQ(holders.Count(State::kLoading), 2u);
  EXPECT_TRUE(holders.Loaded(TwoStages(1, 10, 11), Parts(), kNames).ok());
  ModelDigest whole = Part({"embed", "layer0", "layer1"}, 'a').digest;
  EXPECT_EQ(holders.hash(), HashOf(whole));
  EXPECT_EQ(holders.state(1), State::kReady);
  EXPECT_EQ(holders.StageHash(1, 1), HashOf(Parts()[1].digest));

  // The stage with other content is known, and refused; its neighbour is not.
  std::vector<LoadResult> other = Parts();
  other[1].digest.tensors["layer1"] = std::string(64, 'b');
  const absl::Status refused = holders.Loaded(TwoStages(2, 20, 21), other, kNames);
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(holders.IsRefused(20));
  EXPECT_TRUE(holders.IsRefused(21));
  EXPECT_EQ(holders.state(2), State::kUnknown);
  EXPECT_EQ(holders.Count(State::kLoading), 0u);
}

// Stages may be cut elsewhere in another replica.
TEST(ModelHoldersTest, AWholeModelIsComparedWithOneInStages) {
  ModelHolders holders;
  ASSERT_TRUE(holders.Loaded(TwoStages(1, 10, 11), Parts(), kNames).ok());
  const std::set<std::string> all = {"embed", "layer0", "layer1"};
  const Replica whole{.key = 2, .workers = {20}, .label = "one", .window = {}};
  EXPECT_TRUE(holders.Loaded(whole, {Part(all, 'a')}, {all}).ok());
  EXPECT_EQ(holders.StageHash(2, 0), holders.hash());
}

TEST(ModelHoldersTest, StagesThatDoNotBelongTogetherAreRefused) {
  ModelHolders holders;
  const absl::Status status = holders.Loaded(TwoStages(1, 10, 11), Parts('a', 'b'), kNames);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("embed"));
  EXPECT_TRUE(holders.IsRefused(10) && holders.IsRefused(11));
  EXPECT_EQ(holders.hash(), "");
}

TEST(ModelHoldersTest, WhatTheJournalFixedIsCompared) {
  ModelHolders holders;
  holders.Fix(std::string(64, 'f'));
  const absl::Status status = holders.Loaded(TwoStages(1, 10, 11), Parts(), kNames);
  EXPECT_THAT(std::string(status.message()), HasSubstr("the job's has ffffffffffff"));
  EXPECT_EQ(holders.hash(), std::string(64, 'f'));
}

TEST(ModelHoldersTest, RefusesWhatAreNoDigestsOfItsTensors) {
  std::vector<std::vector<LoadResult>> malformed(4, Parts());
  malformed[0][1].digest.tensors.erase("layer1");
  malformed[1][1].digest.tensors["layer1"] = "abc";
  malformed[2][1].digest.tensors["layer2"] = std::string(64, 'a');
  malformed[3][1].digest.description = "";
  for (const std::vector<LoadResult>& parts : malformed) {
    ModelHolders holders;
    EXPECT_EQ(holders.Loaded(TwoStages(1, 10, 11), parts, kNames).code(),
              absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(holders.IsRefused(11) && !holders.IsRefused(10));
    EXPECT_EQ(holders.hash(), "");
  }
}

TEST(ModelHoldersTest, AReplicaThatIsGoneLeavesNothingBehind) {
  ModelHolders holders;
  ASSERT_TRUE(holders.Loaded(TwoStages(1, 10, 11), Parts(), kNames).ok());
  holders.SetStatistics(1, Statistics::kPending);
  EXPECT_FALSE(holders.AnyCalibrated());
  holders.SetStatistics(1, Statistics::kThere);
  EXPECT_TRUE(holders.AnyCalibrated());
  holders.Gone(1);
  EXPECT_FALSE(holders.AnyCalibrated());
  EXPECT_EQ(holders.statistics(1), Statistics::kNone);
  EXPECT_EQ(holders.state(1), State::kUnknown);
  EXPECT_EQ(holders.StageHash(1, 0), "");
  EXPECT_EQ(holders.Count(State::kReady), 0u);
}

}  // namespace
}  // namespace espalier
