#include "worker/engine/final_norm.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <limits>

#include "common/model_folder.h"
#include "worker/engine/test_model.h"

namespace espalier {
namespace {

constexpr int64_t kSequences = 4;
constexpr int64_t kLength = 32;

class FinalNormTest : public ::testing::Test {
 protected:
  FinalNormTest()
      : config_(TestConfig(6, 2, false)),
        model_(*LoadResidentModel(*OpenModelFolder(WriteTestModel(config_, 21, "final_norm")),
                                  WholeModel(config_), at::kFloat, at::kCPU)),
        pool_(2),
        backend_(MakeCpuBackend(&pool_)),
        tokens_(RandomTokens(config_, kSequences, kLength, 7)) {}

  at::Tensor LogProbabilities(const at::Tensor& x, double c) const {
    const at::Tensor h = x / (x.square().mean(-1, /*keepdim=*/true) + config_.rms_norm_eps).sqrt() *
                         model_.final_norm * c;
    return at::log_softmax(at::mm(h, model_.head.t()).to(at::kDouble), -1);
  }
  // KL by plain operations, over the rows that predict something.
  double Divergence(const at::Tensor& dense, const at::Tensor& subnet, double c) const {
    const at::Tensor p = LogProbabilities(dense, 1);
    const at::Tensor q = LogProbabilities(subnet, c);
    return (p.exp() * (p - q))
        .sum(-1)
        .view({kSequences, kLength})
        .narrow(1, 0, kLength - 1)
        .sum()
        .item<double>();
  }

  at::Tensor Random() const { return at::randn({kSequences * kLength, config_.hidden_size}); }
  at::Tensor Fit(const at::Tensor& dense, const at::Tensor& subnet) {
    auto norm = FitFinalNorm(model_, dense, subnet, tokens_.tokens.data(), kSequences, kLength,
                             backend_.get(), {});
    EXPECT_TRUE(norm.ok()) << norm.status();
    return *norm;
  }
  // The factor in a fitted norm, the same for all its elements.
  double Factor(const at::Tensor& norm) const {
    const at::Tensor multiple = norm / model_.final_norm;
    const double c = multiple.mean().item<double>();
    EXPECT_LT((multiple - c).abs().max().item<double>(), 1e-5);
    return c;
  }

  const c10::InferenceMode no_autograd_;
  const ModelConfig config_;
  const ResidentModel model_;
  ThreadPool pool_;
  const std::unique_ptr<Backend> backend_;
  const TokenSequences tokens_;
};

TEST_F(FinalNormTest, FindsTheLeastDivergence) {
  const at::Tensor dense = Random();
  for (const double noise : {0.2, 0.5, 1.0}) {
    const at::Tensor subnet = dense + noise * Random();
    double best = 0;
    double least = std::numeric_limits<double>::infinity();
    for (double c = 0.5; c <= 1.2; c += 0.01) {
      const double divergence = Divergence(dense, subnet, c);
      if (divergence < least) {
        least = divergence;
        best = c;
      }
    }
    const double c = Factor(Fit(dense, subnet));
    EXPECT_NEAR(c, best, 0.012) << noise;
    // Noise makes the rows longer; what they say about the dense ones is less.
    EXPECT_LT(c, 1) << noise;
    EXPECT_LT(Divergence(dense, subnet, c), Divergence(dense, subnet, 1)) << noise;
  }
}

TEST_F(FinalNormTest, StaysWithinItsLimits) {
  const double c = Factor(Fit(Random(), Random()));  // the surer, the worse
  EXPECT_GE(c, 0.5);
  EXPECT_LT(c, 0.51);
}

TEST_F(FinalNormTest, LeavesTheModelsNormWhereNothingIsBetter) {
  const at::Tensor dense = Random();
  EXPECT_FALSE(Fit(dense, dense).defined());
  EXPECT_FALSE(Fit(dense, at::full_like(dense, std::numeric_limits<float>::quiet_NaN())).defined());
  const at::Tensor nothing = at::empty({0, config_.hidden_size});
  const auto none = FitFinalNorm(model_, nothing, nothing, nullptr, 0, kLength, backend_.get(), {});
  ASSERT_TRUE(none.ok());
  EXPECT_FALSE(none->defined());
}

TEST(HeldBackTest, IsASixteenthOfEnough) {
  EXPECT_EQ(HeldBack(7), 0);
  EXPECT_EQ(HeldBack(8), 1);
  EXPECT_EQ(HeldBack(128), 8);
}

// What the factor is fitted to, weights are not.
TEST(HeldBackTest, WeightsDoNotDependOnIt) {
  const ModelConfig config = TestConfig(6, 2, false);
  const auto engine = *Engine::Load(WriteTestModel(config, 21, "held_back"), {.threads = 2});
  const TokenSequences tokens = RandomTokens(config, 16, kLength, 7);
  TokenSequences others = tokens;
  for (int64_t i = 15 * kLength; i < 16 * kLength; ++i) {
    others.tokens[i] = (others.tokens[i] + 1) % static_cast<int32_t>(config.vocab_size);
  }
  const auto calibration = *engine->Calibrate(tokens);
  const Subnet subnet = RandomTestSubnet(config, 0.6, false, 3);
  const auto one = engine->ReformProgressively(*calibration, subnet, {}, tokens);
  const auto other = engine->ReformProgressively(*calibration, subnet, {}, others);
  ASSERT_TRUE(one.ok() && other.ok());
  ASSERT_EQ(one->weights->layers.size(), other->weights->layers.size());
  for (size_t i = 0; i < one->weights->layers.size(); ++i) {
    EXPECT_TRUE(at::equal(one->weights->layers[i].down_transposed,
                          other->weights->layers[i].down_transposed));
    EXPECT_TRUE(at::equal(one->weights->layers[i].q, other->weights->layers[i].q));
  }
  EXPECT_TRUE(one->weights->final_norm.defined());
}

}  // namespace
}  // namespace espalier
