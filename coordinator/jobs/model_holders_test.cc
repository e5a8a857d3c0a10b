#include "coordinator/jobs/model_holders.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace espalier {
namespace {

using State = ModelHolders::State;

TEST(ModelHoldersTest, TheFirstLoadFixesTheContent) {
  ModelHolders holders;
  holders.Loading(1);
  holders.Loading(2);
  EXPECT_EQ(holders.Count(State::kLoading), 2u);
  EXPECT_TRUE(holders.Loaded(1, {.model_hash = std::string(64, 'a')}).ok());
  EXPECT_EQ(holders.hash(), std::string(64, 'a'));
  const absl::Status other = holders.Loaded(2, {.model_hash = std::string(64, 'b')});
  EXPECT_EQ(other.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(holders.state(1), State::kReady);
  EXPECT_EQ(holders.state(2), State::kRefused);
  EXPECT_EQ(holders.Count(State::kLoading), 0u);
}

TEST(ModelHoldersTest, RefusesWhatIsNoHash) {
  ModelHolders holders;
  for (const std::string& hash : {std::string(), std::string("abc"), std::string(64, 'G')}) {
    EXPECT_EQ(holders.Loaded(1, {.model_hash = hash}).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(holders.hash(), "");
  }
}

TEST(ModelHoldersTest, AWorkerThatIsGoneLeavesNothingBehind) {
  ModelHolders holders;
  ASSERT_TRUE(holders.Loaded(1, {.model_hash = std::string(64, 'a')}).ok());
  holders.Calibrated(1);
  EXPECT_TRUE(holders.AnyCalibrated());
  holders.Gone(1);
  EXPECT_FALSE(holders.AnyCalibrated());
  EXPECT_EQ(holders.state(1), State::kUnknown);
  EXPECT_EQ(holders.Count(State::kReady), 0u);
}

}  // namespace
}  // namespace espalier
