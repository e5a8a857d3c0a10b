// Plans of `method: espalier`.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "common/plan/allocation_counts.h"
#include "common/plan/job_plan.h"
#include "common/plan/model_cost.h"
#include "common/plan/progressive_cost.h"
#include "common/plan/ranking_cost.h"
#include "common/plan/working_memory.h"
#include "common/testing/model_shapes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using ::testing::ElementsAre;

JobSpec OwnJob(const ModelConfig& config, std::vector<double> ratios = {0.8}) {
  JobSpec spec;
  spec.method = SearchMethod::kEspalier;
  spec.model = "model";
  spec.text.path = "text.txt";
  spec.output = "out";
  spec.ratio = ratios.front();
  spec.more_ratios.assign(ratios.begin() + 1, ratios.end());
  spec.precision = Precision::kBFloat16;
  return *ResolveDefaults(spec, config);
}

PlanOptions Devices(int64_t count, int64_t stages = 0) {
  return {.device = *PresetDevice("a100-80g"), .devices = count, .stages = stages};
}

PlanOptions Cpu(int threads) {
  return {.device = CpuDevice(threads, int64_t{1} << 40), .devices = 1};
}

JobPlan PlanOf(const ModelConfig& config, const JobSpec& spec, const PlanOptions& options) {
  const auto plan = PlanJob(config, spec, options);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return plan.ok() ? *plan : JobPlan();
}

PhasePlan Phase(const JobPlan& plan, const std::string& name) {
  for (const PhasePlan& phase : plan.phases) {
    if (phase.name == name) return phase;
  }
  ADD_FAILURE() << "no phase " << name;
  return {};
}

double SequenceFlops(const ModelConfig& config, int64_t length, double share) {
  return static_cast<double>(config.num_layers) * LayerFlops(config, length, share) +
         HeadFlops(config, length);
}

TEST(AllocationPlanTest, PhasesInTheirOrder) {
  std::vector<std::string> names;
  for (const PhasePlan& phase : PlanOf(Llama7B(), OwnJob(Llama7B()), Devices(1)).phases) {
    names.push_back(phase.name);
    EXPECT_GT(phase.flops, 0) << phase.name;
    EXPECT_GT(phase.seconds, 0) << phase.name;
  }
  EXPECT_THAT(names,
              ElementsAre("calibration", "Gram matrices", "importance", "predictions", "rankings",
                          "sensitivities", "search", "reformation", "evaluation"));
}

TEST(AllocationPlanTest, WhatCalibrationDoesForBothMethodsCostsTheSame) {
  const ModelConfig config = SmolLm2();
  JobSpec paper = OwnJob(config);
  paper.method = SearchMethod::kPaper;
  const JobPlan own = PlanOf(config, OwnJob(config), Cpu(2));
  const JobPlan other = PlanOf(config, paper, Cpu(2));
  for (const char* name : {"calibration", "Gram matrices", "importance"}) {
    EXPECT_EQ(Phase(own, name).flops, Phase(other, name).flops) << name;
    EXPECT_EQ(Phase(own, name).seconds, Phase(other, name).seconds) << name;
  }
}

TEST(AllocationPlanTest, PredictionsRunTheDenseModelAndItsHeadTwice) {
  const ModelConfig config = SmolLm2();
  const JobPlan plan = PlanOf(config, OwnJob(config), Cpu(2));
  const double flops = 32 * (SequenceFlops(config, 512, 1) + HeadFlops(config, 512));
  EXPECT_NEAR(Phase(plan, "predictions").flops / flops, 1, 1e-9);
}

// Candidate by candidate, each with the layer that it cuts.
TEST(AllocationPlanTest, SensitivitiesOneByOne) {
  const ModelConfig config = SmolLm2();
  double flops = 0;
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    for (const double kept : {0.0, 1. / 3, 2. / 3}) {
      const double dense = SequenceFlops(config, 512, 1) - LayerFlops(config, 512, 1);
      flops += dense + AttentionFlops(config, 512, kept) + MlpFlops(config, 512, 1);
      flops += dense + AttentionFlops(config, 512, 1) + MlpFlops(config, 512, kept);
      if (kept > 0)
        flops += RepairFlops(576, 576, kept * 576) + RepairFlops(1536, 576, kept * 1536);
    }
  }
  const PhasePlan phase = Phase(PlanOf(config, OwnJob(config), Cpu(2)), "sensitivities");
  EXPECT_NEAR(phase.flops / flops, 1, 1e-9);
}

TEST(AllocationPlanTest, OnlyNewModulesAreRepaired) {
  const ModelConfig config = SmolLm2();
  const double share = UniformShare(config, 0.8);
  const double layer =
      LayerReformationFlops(config, share, {.method = ReformationMethod::kProjected});
  const double sequence = SequenceFlops(config, 512, share);
  // The start on two sequences; 24 rounds of 8 offspring with four new modules each, and of 3
  // finalists on two sequences.
  const double flops =
      2 * sequence + 30 * layer + 24 * (8 * (sequence + 4 * layer / 2) + 3 * 2 * sequence);
  const JobPlan plan = PlanOf(config, OwnJob(config), Cpu(1));
  EXPECT_NEAR(Phase(plan, "search").flops / flops, 1, 1e-9);
  EXPECT_EQ(plan.candidates, 180 + 1 + 24 * 11);
  EXPECT_EQ(plan.candidate_tokens, 512 * (180 + 2 + 24 * (8 + 6)));
  // One device and one thread: the operations over the rates.
  const double seconds = (24 * 14 + 2) * sequence / 150e9 + (30 + 24 * 8 * 2) * layer / 40e9;
  EXPECT_NEAR(Phase(plan, "search").seconds / seconds, 1, 1e-9);
}

TEST(AllocationPlanTest, WithoutScratchWhatTheCacheCannotHoldIsRepairedAgain) {
  const ModelConfig config = Llama7B();
  const double share = UniformShare(config, 0.8);
  const double lost =
      1 - static_cast<double>(int64_t{1} << 30) /
              (32 * static_cast<double>(LayerRepairedBytes(config, share, Precision::kBFloat16)));
  EXPECT_GT(lost, 0.7);
  const double subnet =
      32 * LayerReformationFlops(config, share, {.method = ReformationMethod::kProjected});
  const double sequence = SequenceFlops(config, 512, share);
  const auto search = [&](bool scratch) {
    PlanOptions options = Devices(1);
    options.scratch = scratch;
    return Phase(PlanOf(config, OwnJob(config), options), "search").flops;
  };
  const double scored = (24 * 14 + 2) * sequence;
  EXPECT_NEAR(search(false) / (scored + subnet + 24 * 11 * lost * subnet), 1, 1e-9);
  // With it only new modules are: all of the start, four of each offspring.
  EXPECT_NEAR(search(true) / (scored + subnet + 24 * 8 * 4 * subnet / 64), 1, 1e-9);
}

TEST(AllocationPlanTest, ProgressiveReformationGoesFromStageToStage) {
  const ModelConfig config = SmolLm2();
  const JobSpec spec = OwnJob(config);
  const ProgressiveFlops layer =
      LayerProgressiveFlops(config, UniformShare(config, 0.8), 128, spec.sequence_length, true);
  const JobPlan one = PlanOf(config, spec, Devices(1, 1));
  EXPECT_NEAR(Phase(one, "reformation").flops / (30 * layer.sum()), 1, 1e-9);
  // The cache has everything, so nothing of it is divided.
  EXPECT_DOUBLE_EQ(Phase(PlanOf(config, spec, Devices(3, 3)), "reformation").seconds,
                   Phase(one, "reformation").seconds);
  JobSpec plain = spec;
  plain.reformation.method = ReformationMethod::kNone;
  EXPECT_EQ(Phase(PlanOf(config, plain, Devices(1)), "reformation").flops, 0);
}

TEST(AllocationPlanTest, EvaluationCountsWhatTheClosingTableNeeds) {
  const ModelConfig config = SmolLm2();
  JobSpec spec = OwnJob(config);
  const auto evaluation = [&](int64_t eval_sequences) {
    PlanOptions options = Cpu(2);
    options.eval_sequences = eval_sequences;
    return Phase(PlanOf(config, spec, options), "evaluation").flops;
  };
  const auto short_one = [&](double share) { return SequenceFlops(config, 512, share); };
  const auto long_one = [&](double share) {
    return SequenceFlops(config, spec.sequence_length, share);
  };
  const double share = UniformShare(config, 0.8);
  // Without a held-out text: dense, initial, searched and reformed on the 32 search sequences.
  EXPECT_NEAR(evaluation(0) / (32 * (short_one(1) + 3 * short_one(share))), 1, 1e-9);
  spec.eval_text.path = "test.txt";
  EXPECT_NEAR(evaluation(7) / (7 * (long_one(1) + 3 * long_one(share)) +
                               32 * (short_one(1) + 2 * short_one(share))),
              1, 1e-9);
}

TEST(AllocationPlanTest, ReplicasShareTheSearch) {
  const ModelConfig config = SmolLm2();
  const JobSpec spec = OwnJob(config);
  const JobPlan one = PlanOf(config, spec, Devices(1, 1));
  const JobPlan four = PlanOf(config, spec, Devices(4, 1));
  // 180 sensitivities; 8 offspring and 3 finalists.
  EXPECT_NEAR(Phase(one, "sensitivities").seconds / Phase(four, "sensitivities").seconds, 4, 1e-9);
  EXPECT_EQ(Phase(one, "rankings").seconds, Phase(four, "rankings").seconds);
  EXPECT_GT(Phase(one, "search").seconds, 2 * Phase(four, "search").seconds);
}

TEST(AllocationPlanTest, SeveralSizesShareWhatComesBeforeTheirSearches) {
  const ModelConfig config = SmolLm2();
  PlanOptions options = Cpu(2);
  options.eval_sequences = 3;
  const auto plan = [&](const std::vector<double>& ratios) {
    JobSpec spec = OwnJob(config, ratios);
    spec.eval_text.path = "test.txt";
    return PlanOf(config, spec, options);
  };
  const JobPlan both = plan({0.7, 0.9});
  const JobPlan small = plan({0.7});
  const JobPlan large = plan({0.9});
  for (const char* name :
       {"calibration", "Gram matrices", "importance", "predictions", "rankings", "sensitivities"}) {
    EXPECT_DOUBLE_EQ(Phase(both, name).flops, Phase(small, name).flops) << name;
    EXPECT_DOUBLE_EQ(Phase(both, name).seconds, Phase(small, name).seconds) << name;
  }
  for (const char* name : {"search", "reformation"}) {
    EXPECT_DOUBLE_EQ(Phase(both, name).flops, Phase(small, name).flops + Phase(large, name).flops)
        << name;
  }
  // The dense model is measured once.
  const double dense = 3 * SequenceFlops(config, 2048, 1) + 32 * SequenceFlops(config, 512, 1);
  EXPECT_NEAR((Phase(small, "evaluation").flops + Phase(large, "evaluation").flops - dense) /
                  Phase(both, "evaluation").flops,
              1, 1e-9);
  EXPECT_EQ(both.candidates, small.candidates + large.candidates - 180);
  EXPECT_EQ(both.stages[0].statistics,
            std::max(small.stages[0].statistics, large.stages[0].statistics));
  EXPECT_EQ(both.stages[0].working, std::max(small.stages[0].working, large.stages[0].working));
  EXPECT_EQ(both.compact_bytes, small.compact_bytes + large.compact_bytes);
  EXPECT_EQ(both.padded_bytes, 2 * small.padded_bytes);
  EXPECT_EQ(both.candidate_flops, large.candidate_flops);
}

TEST(AllocationPlanTest, ThePaperMayHaveSeveralSizesToo) {
  const ModelConfig config = Llama7B();
  JobSpec spec = OwnJob(config, {0.7, 0.9});
  spec.method = SearchMethod::kPaper;
  spec.reformation.method = ReformationMethod::kClosedForm;
  const JobPlan plan = PlanOf(config, spec, Devices(1));
  EXPECT_EQ(plan.candidates, 2 * 5000);
  EXPECT_EQ(plan.candidate_tokens, 2 * 5000 * 5 * 2048);
  EXPECT_EQ(plan.sizes.size(), 2u);
}

TEST(AllocationPlanTest, WhatAStageKeeps) {
  const ModelConfig config = Llama7B();
  const JobSpec spec = OwnJob(config);
  const double share = UniformShare(config, 0.8);
  const int64_t new_weights = 3 * (LayerRepairedBytes(config, share, Precision::kBFloat16) +
                                   LayerInPlaceBytes(config, share, Precision::kBFloat16)) +
                              LayerProgressiveBytes(config, share, Precision::kBFloat16);
  const int64_t inputs = 512 * 4096 * 4;  // of the pair effects
  const int64_t predictions = 32 * 512 * (4096 + 1) * 4;
  const int64_t cache = int64_t{1} << 30;
  PlanOptions cpu = Cpu(4);
  EXPECT_EQ(PlanOf(config, spec, cpu).stages[0].statistics,
            32 * (LayerGramBytes(config) + inputs + new_weights) + predictions + cache);
  // On a GPU Gram matrices make room for the weights, and the host has them.
  const JobPlan gpu = PlanOf(config, spec, Devices(2, 2));
  const int64_t of_layer = std::max(LayerGramBytes(config), new_weights);
  EXPECT_EQ(gpu.stages[0].statistics, gpu.stages[0].layers.count * of_layer + cache);
  EXPECT_EQ(gpu.stages[1].statistics, gpu.stages[1].layers.count * of_layer + cache + predictions);
  EXPECT_EQ(gpu.stages[0].host, gpu.stages[0].layers.count * (LayerGramBytes(config) + inputs));
  // The residual streams of 128 sequences of 2048 tokens and of 2048 of one, dense and reformed.
  EXPECT_GT(gpu.stages[0].working, StreamBytes(config, spec));
  EXPECT_EQ(StreamBytes(config, spec), int64_t{2} * 129 * 2048 * 4096 * 4);
}

// A processor that multiplies in float32 keeps what output linears get in it: for MLPs of LLaMA-7B,
// 0.79 of 11,008 channels, of 128 · 2048 tokens and of 2,048 on their own.
TEST(AllocationPlanTest, WithoutBFloat16ProductsActivationsAreTwiceAsWide) {
  const ModelConfig config = Llama7B();
  const JobSpec spec = OwnJob(config);
  const double share = UniformShare(config, 0.8);
  const int64_t narrow = ProgressiveWorkspace(config, share, spec, CpuDevice(1, 0));
  const int64_t wide = ProgressiveWorkspace(config, share, spec, CpuDevice(1, 0, 1, false));
  EXPECT_NEAR(static_cast<double>(wide - narrow), 2 * share * 11008 * (128 * 2048 + 2048), 1e6);
}

}  // namespace
}  // namespace espalier
