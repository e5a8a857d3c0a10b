// `espalier plan` as a program.
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "client/exit_codes.h"
#include "client/testing/cli_fixture.h"
#include "client/testing/small_model.h"
#include "common/subnet.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace espalier {
namespace {

using ::testing::HasSubstr;

class PlanCliTest : public CliTest {
 protected:
  Finished Plan(const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {"plan", "--model",  model().string(), "--ratio",
                                          "0.7",  "--method", "paper"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Espalier(arguments);
  }
};

TEST_F(PlanCliTest, ExplainsItself) {
  const Finished help = Espalier({"plan", "--help"});
  EXPECT_EQ(help.status, kExitOk);
  EXPECT_THAT(help.out, HasSubstr("Example"));
  EXPECT_THAT(help.out, HasSubstr("--device-type"));
  EXPECT_THAT(Espalier({"--help"}).out, HasSubstr("plan"));
}

TEST_F(PlanCliTest, NeedsNothingButTheConfiguration) {
  std::filesystem::remove(model() / "model.safetensors");
  const Finished plan = Plan({"--json"});
  ASSERT_EQ(plan.status, kExitOk) << plan.err;
  const nlohmann::json json = nlohmann::json::parse(plan.out);
  EXPECT_EQ(json["dense_parameters"], DenseParameters(SmallConfig()));
  EXPECT_EQ(json["fits"], true);
  EXPECT_EQ(json["runs_today"], true);
  ExpectNothingLeft();
}

TEST_F(PlanCliTest, TakesTheJobsFlags) {
  const Finished plan = Espalier(SmallJob("plan", {"--json"}));
  ASSERT_EQ(plan.status, kExitOk) << plan.err;
  EXPECT_EQ(nlohmann::json::parse(plan.out)["candidates"], 2 * 6);
  ExpectNothingLeft();
}

TEST_F(PlanCliTest, WhatDoesNotFitHasStatusOne) {
  const Finished plan = Plan({"--device-memory", "1M"});
  EXPECT_EQ(plan.status, kExitFailure);
  EXPECT_THAT(plan.out, HasSubstr("DOES NOT FIT"));
  EXPECT_EQ(plan.err, "");
}

TEST_F(PlanCliTest, StagesAreShown) {
  const Finished plan =
      Plan({"--device-type", "a100-40g", "--devices", "6", "--stages", "3", "--json"});
  ASSERT_EQ(plan.status, kExitOk) << plan.err;
  const nlohmann::json json = nlohmann::json::parse(plan.out);
  EXPECT_EQ(json["stages"].size(), 3u);
  EXPECT_EQ(json["replicas"], 2);
  EXPECT_EQ(json["runs_today"], false);
}

TEST_F(PlanCliTest, AGivenRateSetsTheTime) {
  const auto search_seconds = [&](const char* teraflops) {
    const Finished plan = Plan({"--device-tflops", teraflops, "--json"});
    return nlohmann::json::parse(plan.out)["phases"][3]["seconds"].get<double>();
  };
  EXPECT_NEAR(search_seconds("1") / search_seconds("4"), 4, 1e-6);
}

TEST_F(PlanCliTest, TheOwnMethodIsPlannedAsAnEqual) {
  const Finished plan = Plan({"--method", "espalier", "--generations", "3", "--json"});
  ASSERT_EQ(plan.status, kExitOk) << plan.err;
  const nlohmann::json json = nlohmann::json::parse(plan.out);
  EXPECT_EQ(json["method"], "espalier");
  EXPECT_EQ(json["candidates"], 6 * 6 + 1 + 3 * 11);
  EXPECT_EQ(json["phases"].size(), 9u);
  double seconds = 0;
  for (const auto& phase : json["phases"]) {
    EXPECT_GT(phase["flops"], 0) << phase["name"];
    seconds += phase["seconds"].get<double>();
  }
  EXPECT_NEAR(seconds, json["seconds"].get<double>(), 1e-6 * seconds);
  EXPECT_EQ(json["runs_today"], true);
  ExpectNothingLeft();
}

TEST_F(PlanCliTest, SeveralSizesArePlannedTogether) {
  for (const auto& [method, candidates] :
       {std::pair("paper", 3 * 6), std::pair("espalier", 6 * 6 + 3 * (1 + 2 * 11))}) {
    std::vector<std::string> arguments = {
        "plan",           "--model",
        model().string(), "--ratio",
        "0.8,0.7,0.6",    "--method",
        method,           "--json",
        "--generations",  method == std::string("paper") ? "1" : "2"};
    if (method == std::string("paper")) {
      arguments.insert(arguments.end(), {"--population", "6"});
    }
    const Finished plan = Espalier(arguments);
    ASSERT_EQ(plan.status, kExitOk) << plan.err;
    const nlohmann::json json = nlohmann::json::parse(plan.out);
    EXPECT_EQ(json["sizes"].size(), 3u);
    EXPECT_EQ(json["candidates"], candidates) << method;
  }
}

TEST_F(PlanCliTest, WrongFlagsAreUsageErrors) {
  for (const std::vector<std::string>& wrong : {std::vector<std::string>{"--device-type", "tpu"},
                                                {"--device-memory", "much"},
                                                {"--devices", "0"},
                                                {"--stages", "7"},  // of six layers
                                                {"--device-tflops", "-1"}}) {
    const Finished plan = Plan(wrong);
    EXPECT_EQ(plan.status, kExitUsage) << ::testing::PrintToString(wrong);
    EXPECT_EQ(plan.out, "");
  }
}

TEST_F(PlanCliTest, AMissingModelIsNamed) {
  const Finished plan = Espalier({"plan", "--model", "no-such-model", "--ratio", "0.7"});
  EXPECT_EQ(plan.status, kExitFailure);
  EXPECT_THAT(plan.err, HasSubstr("no-such-model/config.json"));
}

}  // namespace
}  // namespace espalier
