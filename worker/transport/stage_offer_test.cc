#include "worker/transport/stage_offer.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::vector<StageOffer> ThreeGpus() {
  return {{.gpu = "a", .nccl = "2.28.9", .machine = "m"},
          {.gpu = "b", .nccl = "2.28.9", .machine = "m"},
          {.gpu = "c", .nccl = "2.28.9", .machine = "m"}};
}

TEST(StageOfferTest, GpusOfOneMachineUseNccl) { EXPECT_EQ(WhyNotNccl(ThreeGpus()), ""); }

TEST(StageOfferTest, AStageWithoutAGpuForbidsItWithItsReason) {
  std::vector<StageOffer> offers = ThreeGpus();
  offers[1] = {.reason = "it computes on cpu"};
  EXPECT_EQ(WhyNotNccl(offers), "stage 1: it computes on cpu");
  offers[1] = {};
  EXPECT_THAT(WhyNotNccl(offers), HasSubstr("stage 1"));
}

TEST(StageOfferTest, ASharedGpuForbidsIt) {
  std::vector<StageOffer> offers = ThreeGpus();
  offers[2].gpu = "a";
  EXPECT_THAT(WhyNotNccl(offers), HasSubstr("stages 0 and 2 share the GPU a"));
}

TEST(StageOfferTest, AnotherVersionForbidsIt) {
  std::vector<StageOffer> offers = ThreeGpus();
  offers[2].nccl = "2.29.1";
  EXPECT_THAT(WhyNotNccl(offers), AllOf(HasSubstr("2.28.9"), HasSubstr("stage 2 has 2.29.1")));
}

TEST(StageOfferTest, BetweenMachinesEveryStageMustAllowClearText) {
  std::vector<StageOffer> offers = ThreeGpus();
  offers[1].machine = "n";
  offers[0].clear_text = true;
  offers[1].clear_text = true;
  // Stages 1 and 2 are on different machines, too.
  EXPECT_THAT(WhyNotNccl(offers), AllOf(HasSubstr("stage 2"), HasSubstr("--insecure")));
  offers[2].clear_text = true;
  EXPECT_EQ(WhyNotNccl(offers), "");
}

TEST(StageOfferTest, TravelsAsAMessage) {
  const StageOffer offer{
      .gpu = "a", .nccl = "2.28.9", .machine = "m", .clear_text = true, .reason = "r"};
  v1::StageOffer message;
  WriteOffer(offer, &message);
  const StageOffer read = ReadOffer(message);
  EXPECT_EQ(read.gpu, offer.gpu);
  EXPECT_EQ(read.nccl, offer.nccl);
  EXPECT_EQ(read.machine, offer.machine);
  EXPECT_EQ(read.clear_text, offer.clear_text);
  EXPECT_EQ(read.reason, offer.reason);
}

}  // namespace
}  // namespace espalier
