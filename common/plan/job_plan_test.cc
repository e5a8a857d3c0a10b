#include "common/plan/job_plan.h"

#include <numeric>
#include <string>

#include "common/plan/model_cost.h"
#include "common/testing/model_shapes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kGib = int64_t{1} << 30;

JobSpec PaperJob(const ModelConfig& config, Precision precision = Precision::kBFloat16) {
  JobSpec spec;
  spec.method = SearchMethod::kPaper;
  spec.model = "model";
  spec.text.path = "text.txt";
  spec.output = "out";
  spec.ratio = 0.7;
  spec.precision = precision;
  return *ResolveDefaults(spec, config);
}

PlanOptions Devices(const std::string& type, int64_t count, int64_t stages = 0) {
  return {.device = *PresetDevice(type), .devices = count, .stages = stages};
}

JobPlan PlanOf(const ModelConfig& config, const JobSpec& spec, const PlanOptions& options) {
  const auto plan = PlanJob(config, spec, options);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return plan.ok() ? *plan : JobPlan();
}

TEST(JobPlanTest, OneStageHoldsAllWeights) {
  const ModelConfig config = Llama7B();
  const JobPlan plan = PlanOf(config, PaperJob(config), Devices("a100-80g", 1));
  ASSERT_EQ(plan.stages.size(), 1u);
  EXPECT_TRUE(plan.fits());
  EXPECT_EQ(plan.dense_parameters, 6738415616);
  EXPECT_NEAR(static_cast<double>(plan.stages[0].weights), 2 * 6.738e9, 2e6);
  EXPECT_EQ(plan.stages[0].statistics, 32 * LayerGramBytes(config));
  EXPECT_EQ(plan.padded_bytes, 2 * plan.dense_parameters);
  EXPECT_NEAR(static_cast<double>(plan.compact_bytes), 0.7 * 2 * 6.738e9, 2e6);
}

TEST(JobPlanTest, StagesTogetherHoldTheModelOnce) {
  for (const ModelConfig& config : {Llama13B(), Llama30B(), Llama65B()}) {
    const JobPlan plan = PlanOf(config, PaperJob(config), Devices("a100-80g", 8, 8));
    ASSERT_EQ(plan.stages.size(), 8u);
    int64_t weights = 0;
    int64_t layers = 0;
    double flops = 0;
    for (const StagePlan& stage : plan.stages) {
      EXPECT_EQ(stage.layers.first, layers);
      layers += stage.layers.count;
      weights += stage.weights;
      flops += stage.candidate_flops;
    }
    EXPECT_EQ(layers, config.num_layers);
    const int64_t norms = (2 * config.num_layers + 1) * config.hidden_size;
    EXPECT_EQ(weights, 2 * plan.dense_parameters + 2 * norms);
    EXPECT_NEAR(flops / plan.candidate_flops, 1, 1e-9);
  }
}

TEST(JobPlanTest, ATiedHeadOnAnotherStageIsASecondCopy) {
  const ModelConfig config = SmolLm2();
  const auto weights = [&](int64_t stages) {
    const JobPlan plan = PlanOf(config, PaperJob(config), Devices("a100-40g", 2, stages));
    return std::accumulate(plan.stages.begin(), plan.stages.end(), int64_t{0},
                           [](int64_t sum, const StagePlan& stage) { return sum + stage.weights; });
  };
  EXPECT_EQ(weights(2) - weights(1), EmbeddingBytes(config, Precision::kBFloat16));
}

TEST(JobPlanTest, TheFewestStagesThatFitAreChosen) {
  const ModelConfig config = Llama65B();
  const JobPlan plan = PlanOf(config, PaperJob(config), Devices("a100-80g", 16));
  EXPECT_TRUE(plan.fits());
  const auto chosen = static_cast<int64_t>(plan.stages.size());
  EXPECT_EQ(chosen, plan.smallest_stages);
  EXPECT_EQ(plan.replicas, 16 / chosen);
  EXPECT_LE(plan.LargestStage(), PresetDevice("a100-80g")->memory);
  const JobPlan fewer = PlanOf(config, PaperJob(config), Devices("a100-80g", 16, chosen - 1));
  EXPECT_FALSE(fewer.fits());
  EXPECT_GT(fewer.LargestStage(), PresetDevice("a100-80g")->memory);
}

TEST(JobPlanTest, TooFewDevicesDoNotFitAndTheAdviceSaysHowMany) {
  const ModelConfig config = Llama65B();
  const JobSpec spec = PaperJob(config, Precision::kFloat32);
  const PlanOptions options = Devices("a100-80g", 2);
  const JobPlan plan = PlanOf(config, spec, options);
  EXPECT_FALSE(plan.fits());
  EXPECT_EQ(plan.stages.size(), 2u);
  const auto advice = PlanAdvice(config, spec, options, plan);
  EXPECT_THAT(advice, Contains(HasSubstr("bfloat16")));
  EXPECT_THAT(advice, Contains(HasSubstr(std::to_string(plan.smallest_stages) + " stages")));
}

TEST(JobPlanTest, AdviceIsTriedOut) {
  const ModelConfig config = Llama7B();
  const JobSpec wide = PaperJob(config, Precision::kFloat32);
  const JobSpec narrow = PaperJob(config);
  PlanOptions options{.device = CpuDevice(1, 0), .devices = 1};
  options.device.memory = PlanOf(config, narrow, options).LargestStage();
  const auto advice = PlanAdvice(config, wide, options, PlanOf(config, wide, options));
  EXPECT_THAT(advice, Contains(HasSubstr("that alone makes it fit")));
  EXPECT_THAT(PlanAdvice(config, narrow, options, PlanOf(config, narrow, options)), IsEmpty());
}

TEST(JobPlanTest, EachThreadFactorisesAMatrixOfItsOwn) {
  const ModelConfig config = Llama7B();
  const JobSpec spec = PaperJob(config);
  PlanOptions options{.device = CpuDevice(32, 0), .devices = 1};
  options.device.threads = 1;
  options.device.memory = PlanOf(config, spec, options).LargestStage() + kGib;
  EXPECT_TRUE(PlanOf(config, spec, options).fits());
  options.device.threads = 32;
  const JobPlan plan = PlanOf(config, spec, options);
  EXPECT_FALSE(plan.fits());
  EXPECT_THAT(PlanAdvice(config, spec, options, plan), Contains(HasSubstr("--threads 1")));
}

TEST(JobPlanTest, ADeviceTooSmallForOneLayer) {
  const ModelConfig config = Llama65B();
  PlanOptions options = Devices("a100-80g", 80);
  options.device.memory = kGib;
  const JobPlan plan = PlanOf(config, PaperJob(config), options);
  EXPECT_FALSE(plan.fits());
  EXPECT_EQ(plan.smallest_stages, 0);
  EXPECT_THAT(PlanAdvice(config, PaperJob(config), options, plan),
              Contains(HasSubstr("more memory")));
}

TEST(JobPlanTest, ReplicasShareTheSearch) {
  const ModelConfig config = Llama7B();
  const JobPlan one = PlanOf(config, PaperJob(config), Devices("a100-80g", 1));
  const JobPlan four = PlanOf(config, PaperJob(config), Devices("a100-80g", 4));
  EXPECT_EQ(four.replicas, 4);
  EXPECT_NEAR(four.candidates_per_hour / one.candidates_per_hour, 4, 1e-9);
  // By hand: 5000 candidates at the rate of one device.
  const double rate = PresetDevice("a100-80g")->bfloat16_flops;
  EXPECT_NEAR(one.candidates_per_hour, 3600 * rate / one.candidate_flops, 1e-6);
  // 30 candidates of a generation for 4 replicas: the last round is half empty.
  JobSpec small = PaperJob(config);
  small.search.mutations = 30;
  small.search.crossovers = small.search.initial_mutations = 0;
  EXPECT_NEAR(
      PlanOf(config, small, Devices("a100-80g", 4)).candidates_per_hour / one.candidates_per_hour,
      30.0 / 8, 1e-9);
}

TEST(JobPlanTest, ThePipelineFillsOncePerGeneration) {
  const ModelConfig config = Llama7B();
  const JobPlan plan = PlanOf(config, PaperJob(config), Devices("a100-80g", 4, 4));
  EXPECT_EQ(plan.candidates, 5000);
  const double generation = (100 + 3) * plan.candidate_seconds;
  EXPECT_NEAR(plan.candidates_per_hour, 3600 * 100 / generation, 1e-6);
}

TEST(JobPlanTest, EvaluationCountsWhatTheClosingTableNeeds) {
  const ModelConfig config = Llama7B();
  JobSpec spec = PaperJob(config);
  const auto evaluation = [&](int64_t eval_sequences) {
    PlanOptions options = Devices("a100-80g", 1);
    options.eval_sequences = eval_sequences;
    return PlanOf(config, spec, options).phases.back().flops;
  };
  const JobPlan plan = PlanOf(config, spec, Devices("a100-80g", 1));
  // Without a held-out text: dense, initial, searched and reformed on the search text.
  EXPECT_NEAR(evaluation(0) / (plan.dense_candidate_flops + 3 * plan.candidate_flops), 1, 1e-9);
  spec.eval_text.path = "test.txt";
  const double dense = plan.dense_candidate_flops / 5;
  const double subnet = plan.candidate_flops / 5;
  EXPECT_NEAR(evaluation(7) / (7 * dense + 21 * subnet + 5 * dense + 5 * subnet), 1, 1e-9);
}

TEST(JobPlanTest, TheDiskIsChecked) {
  const ModelConfig config = Llama7B();
  PlanOptions options = Devices("a100-80g", 1);
  options.free_disk = 20 * kGib;
  const JobPlan plan = PlanOf(config, PaperJob(config), options);
  EXPECT_FALSE(plan.fits());
  EXPECT_THAT(PlanAdvice(config, PaperJob(config), options, plan), Contains(HasSubstr("disk")));
  options.free_disk = 24 * kGib;
  EXPECT_TRUE(PlanOf(config, PaperJob(config), options).fits());
}

TEST(JobPlanTest, StagesThatTheModelDoesNotHave) {
  const auto plan = PlanJob(Llama7B(), PaperJob(Llama7B()), Devices("a100-80g", 64, 33));
  EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(plan.status().message()), HasSubstr("1 to 32"));
}

}  // namespace
}  // namespace espalier
