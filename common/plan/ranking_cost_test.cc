#include "common/plan/ranking_cost.h"

#include <vector>

#include "common/plan/test_counter.h"
#include "common/testing/model_shapes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using ::testing::ElementsAre;

// d = 6, H = 4, G = 2, h = 6 (3 pairs), f = 44.
ModelConfig Tiny() {
  ModelConfig config = LlamaShape(2, 6, 4, 44);
  config.num_kv_heads = 2;
  config.head_dim = 6;
  return config;
}
constexpr CutSteps kSteps = {.channels = 12, .pairs = 1};

void Remove(int64_t inputs, int64_t outputs, int64_t gone, MultiplyAdds* counter) {
  for (const int64_t right : {outputs, inputs}) {
    counter->Factorise(gone);
    counter->Substitute(gone, right);
  }
  counter->Product(1, gone * outputs, 1);   // the cost
  counter->Product(inputs, gone, outputs);  // W
  counter->Product(inputs, gone, inputs);   // H⁻¹
}

// Every channel named, as elimination.cc goes through them.
double ChannelsByHand(const ModelConfig& config, int64_t step) {
  const int64_t d = config.hidden_size;
  MultiplyAdds counter;
  counter.Product(config.intermediate_size, config.intermediate_size, d);  // the output's energy
  std::vector<bool> gone(config.intermediate_size, false);  // of the inputs that are still there
  int64_t left = config.intermediate_size;
  while (left > 0) {
    counter.Product(1, std::ssize(gone) * d, 1);  // ‖W_j‖² of all
    int64_t now = 0;
    for (auto it = gone.begin(); it != gone.end() && now < 8; ++it) {
      if (*it) continue;
      *it = true;
      ++now;
      if (--left % step == 0) break;
    }
    Remove(std::ssize(gone), d, now, &counter);
    if (4 * left < 3 * std::ssize(gone)) gone.assign(left, false);
  }
  return counter.flops();
}

void SetCosts(int64_t sets, int64_t size, int64_t d, MultiplyAdds* counter) {
  for (int64_t i = 0; i < sets; ++i) {
    counter->Factorise(size);
    counter->Substitute(size, d);
    counter->Product(1, size * d, 1);
  }
}

// With two groups each number of them is thinned: both, then the one that is left.
double AttentionByHand(const ModelConfig& config) {
  const int64_t d = config.hidden_size;
  const int64_t inputs = 24;
  MultiplyAdds counter;
  counter.Product(inputs, inputs, d);  // the output's energy
  for (const int64_t groups : {2, 1}) {
    // Of three pairs one stays.
    for (int step = 0; step < 2; ++step) Remove(inputs, d, groups * 4, &counter);
    if (groups == 1) break;
    SetCosts(2, 12, d, &counter);
    Remove(inputs, d, 12, &counter);
  }
  return counter.flops();
}

TEST(RankingCostTest, EliminationsOfATinyShapeStepByStep) {
  const RankingFlops flops = LayerRankingFlops(Tiny(), kSteps, 5);
  EXPECT_NEAR(flops.eliminations, ChannelsByHand(Tiny(), kSteps.channels) + AttentionByHand(Tiny()),
              1e-9 * flops.eliminations);
  // The factor and the inverse of 24 and of 44 inputs; values of two groups of two heads turned.
  MultiplyAdds turning;
  for (int head = 0; head < 4; ++head) {
    turning.Product(6, Tiny().hidden_size, 6);  // O Oᵀ
    turning.Product(6, 6, Tiny().hidden_size);  // o
    for (int side = 0; side < 2; ++side) turning.Product(6, 6, 24);
  }
  for (int group = 0; group < 2; ++group) turning.Product(6, 6, Tiny().hidden_size);  // v
  EXPECT_DOUBLE_EQ(flops.factors, 24. * 24 * 24 + 44. * 44 * 44 + turning.flops());
}

// Of pairs alone, and of pairs together: queries of a block of 32 meet the keys up to its last one.
double EffectsByHand(const ModelConfig& config, int64_t positions) {
  const int64_t d = config.hidden_size;
  MultiplyAdds counter;
  counter.Product(positions, d, 24 + 12 + 12);  // q, k, v
  for (int group = 0; group < 2; ++group) {
    for (int head = 0; head < 2; ++head) {
      counter.Product(positions, 6, positions);  // q kᵀ
      counter.Product(positions, positions, 6);  // p v
      for (int64_t query = 0; query < positions; ++query) {
        counter.Product(3, std::min(positions, (query / 32 + 1) * 32), 3);
      }
    }
    counter.Product(12, d, 12);         // O Oᵀ
    counter.Product(positions, 12, d);  // O a
    for (int pair = 0; pair < 3; ++pair) {
      for (int head = 0; head < 2; ++head) {
        counter.Product(positions, 2, positions);  // without its two dims
        counter.Product(positions, positions, 6);
      }
      counter.Product(positions, 12, 12);
      counter.Product(1, positions * 12, 1);
    }
  }
  return counter.flops();
}

TEST(RankingCostTest, EffectsOfATinyShapeLoopByLoop) {
  for (const int64_t positions : {5, 70}) {
    EXPECT_DOUBLE_EQ(LayerRankingFlops(Tiny(), kSteps, positions).effects,
                     EffectsByHand(Tiny(), positions));
  }
}

TEST(RankingCostTest, TheHeadsMetricOfATinyShapeLoopByLoop) {
  const ModelConfig config = Tiny();
  const int64_t d = config.hidden_size;
  const int64_t vocabulary = config.vocab_size;
  // Of 4,099 positions every second one is kept.
  constexpr int64_t kRows = 2050;
  MultiplyAdds counter;
  for (int product = 0; product < 3; ++product) counter.Product(kRows, vocabulary, d);
  for (int sum = 0; sum < 4; ++sum) counter.Product(d, kRows, d);
  counter.Product(d, vocabulary, d);
  EXPECT_DOUBLE_EQ(HeadMetricFlops(config, 4099), counter.flops());
}

TEST(RankingCostTest, SizesOfCuts) {
  // Both groups with 1 or 2 pairs, one with 1, 2 or 3.
  EXPECT_THAT(AttentionCutSizes(Tiny(), kSteps), ElementsAre(1, 2, 2, 3, 4));
  EXPECT_THAT(AttentionCutSizes(Tiny(), {.channels = 12, .pairs = 2}), ElementsAre(2, 3, 4));
  EXPECT_THAT(MlpCutSizes(Tiny(), kSteps), ElementsAre(12, 24, 36));
  // A pair is four inputs of o and two rows of v.
  EXPECT_EQ(LayerCutBytes(Tiny(), kSteps, Precision::kFloat32), 4 * 6 * (6 * 12 + 72));
}

TEST(RankingCostTest, OfManyGroupsEightNumbersAreThinned) {
  // LLaMA-7B: 32 groups of 64 pairs. Of 31 numbers of groups 8 have 15 sizes more, of 4 … 60 pairs.
  EXPECT_EQ(AttentionCutSizes(Llama7B(), {.channels = 64, .pairs = 4}).size(), 31u + 8 * 15);
}

}  // namespace
}  // namespace espalier
