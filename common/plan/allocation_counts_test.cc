#include "common/plan/allocation_counts.h"

#include "common/testing/model_shapes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using ::testing::DoubleEq;
using ::testing::ElementsAre;

JobSpec OwnJob(const ModelConfig& config) {
  JobSpec spec;
  spec.method = SearchMethod::kEspalier;
  spec.model = "model";
  spec.text.path = "text.txt";
  spec.output = "out";
  spec.ratio = 0.8;
  return *ResolveDefaults(spec, config);
}

TEST(AllocationCountsTest, ProbesAreNothingAThirdAndTwoThirds) {
  const LayerProbes probes = ProbesOf(SmolLm2(), OwnJob(SmolLm2()));
  // 3 groups of 32 pairs: 32 of 96 and 64 are cuts. 1536 channels in steps of 64: 512 and 1024.
  EXPECT_THAT(probes.attention, ElementsAre(0, DoubleEq(32. / 96), DoubleEq(64. / 96)));
  EXPECT_THAT(probes.mlp, ElementsAre(0, DoubleEq(512. / 1536), DoubleEq(1024. / 1536)));
}

TEST(AllocationCountsTest, WithoutCutsNothingIsLeftToProbe) {
  ModelConfig config = SmolLm2();
  JobSpec spec = OwnJob(config);
  config.num_kv_heads = config.num_heads = 1;
  spec.align_mlp = config.intermediate_size;
  spec.align_head_dim = config.head_dim;
  EXPECT_THAT(ProbesOf(config, spec).attention, ElementsAre(0));
  EXPECT_THAT(ProbesOf(config, spec).mlp, ElementsAre(0));
  // One cut stands for both thirds.
  spec.align_mlp = config.intermediate_size / 2;
  EXPECT_THAT(ProbesOf(config, spec).mlp, ElementsAre(0, 0.5));
}

// docs/results.md: 357 candidates and 207,872 tokens in 16 rounds.
TEST(AllocationCountsTest, SmolLm2IsScoredAsOftenAsTheJobsReportSays) {
  const ModelConfig config = SmolLm2();
  JobSpec spec = OwnJob(config);
  spec.allocation.generations = 16;
  int64_t candidates = 30 * ProbesOf(config, spec).count();
  int64_t sequences = candidates;
  for (const CandidateBatch& batch : EvolutionOf(config, spec)) {
    candidates += batch.batches * batch.candidates;
    sequences += batch.batches * batch.candidates * batch.sequences;
  }
  EXPECT_EQ(candidates, 357);
  EXPECT_EQ(sequences * 512, 207872);
}

TEST(AllocationCountsTest, WindowsEndWithTheText) {
  const ModelConfig config = SmolLm2();
  JobSpec spec = OwnJob(config);
  spec.allocation.sequences = 1;
  spec.allocation.offspring = 1;
  const auto batches = EvolutionOf(config, spec);
  ASSERT_EQ(batches.size(), 3u);
  EXPECT_EQ(batches[0].sequences, 1);
  EXPECT_EQ(batches[2].sequences, 1);
  EXPECT_EQ(batches[2].candidates, 2);  // the parent and the only offspring
}

TEST(AllocationCountsTest, TheRepairCacheHoldsAGibibyteOrEveryCut) {
  EXPECT_EQ(RepairCacheBytes(Llama7B(), OwnJob(Llama7B())), int64_t{1} << 30);
  ModelConfig small = SmolLm2();
  const JobSpec spec = OwnJob(small);
  small.num_layers = 1;
  const int64_t bytes = RepairCacheBytes(small, spec);
  // Of the MLP 64 + 128 + … + 1472 channels.
  EXPECT_GT(bytes, 4 * 576 * 64 * (23 * 24 / 2));
  EXPECT_LT(bytes, 3 * 4 * 576 * 64 * (23 * 24 / 2));
}

}  // namespace
}  // namespace espalier
