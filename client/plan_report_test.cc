#include "client/plan_report.h"

#include <string>

#include "common/plan/test_shapes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

PlannedJob Planned(const std::string& type, int64_t devices, int64_t stages = 0,
                   Precision precision = Precision::kBFloat16) {
  PlannedJob job;
  job.config = Llama65B();
  JobSpec spec;
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

}  // namespace
}  // namespace espalier
