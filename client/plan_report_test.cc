#include "client/plan_report.h"

#include <string>
#include <utility>
#include <vector>

#include "common/testing/model_shapes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

JobSpec OfMethod(SearchMethod method, std::vector<double> more_ratios = {}) {
  JobSpec spec;
  spec.method = method;
  spec.more_ratios = std::move(more_ratios);
  return spec;
}

PlannedJob Planned(const std::string& type, int64_t devices, int64_t stages = 0,
                   Precision precision = Precision::kBFloat16,
                   JobSpec spec = OfMethod(SearchMethod::kPaper)) {
  PlannedJob job;
  job.config = Llama65B();
  spec.model = "llama-65b";
  spec.text.path = "text.txt";
  spec.output = "out";
  spec.ratio = 0.7;
  spec.precision = precision;
  job.spec = *ResolveDefaults(spec, job.config);
  job.options = {.device = *PresetDevice(type), .devices = devices, .stages = stages};
  job.plan = *PlanJob(job.config, job.spec, job.options);
  job.advice = PlanAdvice(job.config, job.spec, job.options, job.plan);
  return job;
}

TEST(PlanReportTest, APlanThatFits) {
  const std::string report = PlanReport(Planned("a100-80g", 16, 8));
  EXPECT_THAT(report, HasSubstr("llama-65b: 65,285,660,672 parameters in 80 layers, bfloat16"));
  EXPECT_THAT(report, HasSubstr("16 × a100-80g"));
  EXPECT_THAT(report, HasSubstr("2 replicas of 8 stages"));
  EXPECT_THAT(report, HasSubstr("5,000 candidates"));
  EXPECT_THAT(report, HasSubstr("not been measured on GPUs"));
  EXPECT_THAT(report, HasSubstr("\nFITS\n"));
}

TEST(PlanReportTest, APlanThatDoesNotFitSaysWhyAndWhatToChange) {
  const std::string report = PlanReport(Planned("a100-40g", 2, 0, Precision::kFloat32));
  EXPECT_THAT(report, HasSubstr("DOES NOT FIT: a stage needs "));
  EXPECT_THAT(report, HasSubstr("a device has 37.6 GiB"));
  EXPECT_THAT(report, HasSubstr("  - use precision bfloat16"));
  EXPECT_THAT(report, HasSubstr("stages, on"));
  EXPECT_THAT(report, Not(HasSubstr("\nFITS")));
}

TEST(PlanReportTest, StagesWithoutDevices) {
  EXPECT_THAT(PlanReport(Planned("a100-80g", 4, 16)),
              HasSubstr("16 stages need as many devices, there are 4"));
}

TEST(PlanReportTest, JsonHasPlainNumbers) {
  const PlannedJob job = Planned("a100-80g", 16, 8);
  const nlohmann::ordered_json json = PlanToJson(job);
  EXPECT_EQ(json["dense_parameters"], 65285660672);
  EXPECT_EQ(json["stages"].size(), 8u);
  EXPECT_EQ(json["stages"][0]["bytes"].get<int64_t>(), job.plan.stages[0].needed());
  EXPECT_EQ(json["device"]["count"], 16);
  EXPECT_EQ(json["fits"], true);
  EXPECT_EQ(json["runs_today"], false);
  double seconds = 0;
  for (const auto& phase : json["phases"]) seconds += phase["seconds"].get<double>();
  EXPECT_NEAR(seconds, json["seconds"].get<double>(), 1e-6 * seconds);
}

TEST(PlanReportTest, TheOwnMethodHasItsOwnPhases) {
  const PlannedJob job =
      Planned("a100-80g", 16, 8, Precision::kBFloat16, OfMethod(SearchMethod::kEspalier));
  const std::string report = PlanReport(job);
  EXPECT_THAT(report, HasSubstr("Method   espalier\n"));
  for (const char* phase : {"\npredictions ", "\nrankings ", "\nsensitivities ", "\nsearch ",
                            "\nreformation ", "\nevaluation "}) {
    EXPECT_THAT(report, HasSubstr(phase));
  }
  EXPECT_THAT(report, HasSubstr(" on 1 sequence of 512 tokens; "));
  // 80 layers with 6 probes, the start, 24 rounds of 8 offspring and 3 finalists.
  EXPECT_THAT(report, HasSubstr("745 candidates, "));
  // Of 512 tokens each, but twice as many for the start and for finalists.
  EXPECT_THAT(report, HasSubstr("418,816 candidate tokens.\n"));
  EXPECT_THAT(PlanReport(Planned("a100-80g", 16, 8)), HasSubstr("Method   paper\n"));
}

TEST(PlanReportTest, EverySizeIsATarget) {
  const PlannedJob job =
      Planned("a100-80g", 16, 8, Precision::kBFloat16, OfMethod(SearchMethod::kEspalier, {0.5}));
  const std::string report = PlanReport(job);
  EXPECT_THAT(report, HasSubstr("Target   70.0% of the parameters: 45,699,962,470;"));
  EXPECT_THAT(report, HasSubstr("Target   50.0% of the parameters: 32,642,830,336;"));
  EXPECT_THAT(report, HasSubstr("The results take "));
  const nlohmann::ordered_json json = PlanToJson(job);
  EXPECT_EQ(json["method"], "espalier");
  ASSERT_EQ(json["sizes"].size(), 2u);
  EXPECT_EQ(json["sizes"][1]["ratio"], 0.5);
  EXPECT_EQ(json["sizes"][1]["target_parameters"], 32642830336);
  EXPECT_EQ(json["candidates"], 480 + 2 * (1 + 24 * 11));
  EXPECT_EQ(json["candidate_tokens"], 512 * (480 + 2 * (2 + 24 * (8 + 3 * 2))));
}

}  // namespace
}  // namespace espalier
