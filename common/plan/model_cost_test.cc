#include "common/plan/model_cost.h"

#include <vector>

#include "common/subnet.h"
#include "common/testing/model_shapes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

struct Published {
  ModelConfig config;
  int64_t parameters;
};

// Published counts of LLaMA (6.738, 13.016, 32.529 and 65.286 billion) and SmolLM2-135M, in full.
std::vector<Published> PublishedModels() {
  return {{Llama7B(), 6738415616},
          {Llama13B(), 13015864320},
          {Llama30B(), 32528943616},
          {Llama65B(), 65285660672},
          {SmolLm2(), 134515008}};
}

TEST(ModelCostTest, PartsAddUpToThePublishedCounts) {
  for (const auto& [config, parameters] : PublishedModels()) {
    const int64_t norms = (2 * config.num_layers + 1) * config.hidden_size;
    const int64_t embeddings =
        config.vocab_size * config.hidden_size * (config.tie_word_embeddings ? 1 : 2);
    EXPECT_EQ(config.num_layers * (AttentionParameters(config) + MlpParameters(config)) + norms +
                  embeddings,
              parameters);
    EXPECT_EQ(CountParameters(Subnet::Dense(config), config), parameters);
  }
}

TEST(ModelCostTest, WeightsTakeTwoBytesAParameterAndNormsFour) {
  for (const auto& [config, parameters] : PublishedModels()) {
    const int64_t norms = (2 * config.num_layers + 1) * config.hidden_size;
    const int64_t embeddings = config.tie_word_embeddings ? 1 : 2;
    EXPECT_EQ(config.num_layers * LayerBytes(config, Precision::kBFloat16) +
                  embeddings * EmbeddingBytes(config, Precision::kBFloat16) +
                  FinalNormBytes(config),
              2 * parameters + 2 * norms);
  }
}

TEST(ModelCostTest, UniformShareLeavesTheTarget) {
  for (const auto& [config, parameters] : PublishedModels()) {
    const double share = UniformShare(config, 0.7);
    const auto blocks =
        static_cast<double>(config.num_layers * (AttentionParameters(config) +
                                                 MlpParameters(config) + 2 * config.hidden_size));
    const double dense = static_cast<double>(parameters);
    EXPECT_NEAR(dense - blocks + share * blocks, 0.7 * dense, 1e-9 * dense);
    EXPECT_DOUBLE_EQ(UniformShare(config, 1), 1);
  }
  EXPECT_EQ(UniformShare(SmolLm2(), 0.1), 0);  // the embedding alone is more
}

// d = 4, H = 2, G = 1, h = 2, f = 6, V = 10, T = 3.
ModelConfig Tiny() {
  ModelConfig config;
  config.num_layers = 2;
  config.hidden_size = 4;
  config.num_heads = 2;
  config.num_kv_heads = 1;
  config.head_dim = 2;
  config.intermediate_size = 6;
  config.vocab_size = 10;
  return config;
}

TEST(ModelCostTest, FlopsOfATinyShapeByHand) {
  // A token: q 4×4, k and v 2×4, o 4×4: 48 multiply-adds; gate, up, down 3 · 6×4: 72.
  // Attention of 3 tokens: 1 + 2 + 3 = 6 meetings of 2 heads with 2 dims, scores and values: 48.
  EXPECT_DOUBLE_EQ(LayerFlops(Tiny(), 3, 1), 2 * (3 * (48 + 72) + 48));
  EXPECT_DOUBLE_EQ(LayerFlops(Tiny(), 3, 0.5), LayerFlops(Tiny(), 3, 1) / 2);
  EXPECT_DOUBLE_EQ(HeadFlops(Tiny(), 3), 2 * 3 * 10 * 4);
  // Two 4×4, one 4×4, one 6×6.
  EXPECT_DOUBLE_EQ(LayerGramFlops(Tiny(), 5, /*full=*/true), 2 * 5 * (3 * 16 + 36));
  EXPECT_DOUBLE_EQ(LayerGramFlops(Tiny(), 5, /*full=*/false), 5 * (3 * 16 + 36));
  EXPECT_EQ(LayerGramBytes(Tiny()), 4 * (3 * 16 + 36));
  EXPECT_DOUBLE_EQ(LayerImportanceFlops(Tiny()), 3 * 64 + 216);
}

TEST(ModelCostTest, ReformationOfATinyShapeByHand) {
  // Linears [4, 4] and [4, 6], half of the inputs kept.
  const auto closed_form = [](double n, double k) {
    const double d = 4;
    const double errors = 2 * n * (n - k) * d + 2 * k * k * d;
    return errors + k * k * k / 3 + 2 * k * k * d;
  };
  EXPECT_DOUBLE_EQ(LayerReformationFlops(Tiny(), 0.5, ReformationSpec()),
                   closed_form(4, 2) + closed_form(6, 3));
  // In the basis of the values: O Oᵀ and o, both sides of the Gram matrix, and v.
  const double turning = 2 * 2 * (2 * 4 * 4 + 2 * 4 * 4 + 2 * 4);
  EXPECT_DOUBLE_EQ(LayerReformationFlops(Tiny(), 0.5, {.method = ReformationMethod::kProjected}),
                   closed_form(4, 2) + closed_form(6, 3) + turning);
  EXPECT_EQ(LayerReformationFlops(Tiny(), 1, ReformationSpec()), 0);
  EXPECT_EQ(LayerReformationFlops(Tiny(), 0.5, {.method = ReformationMethod::kNone}), 0);
  EXPECT_GT(LayerReformationFlops(Tiny(), 0.5, {.method = ReformationMethod::kAdmm}),
            LayerReformationFlops(Tiny(), 0.5, ReformationSpec()));
}

TEST(ModelCostTest, ASequenceOfLlama7BIsTwoOperationsAParameterAndToken) {
  const ModelConfig config = Llama7B();
  const double flops = 32 * LayerFlops(config, 2048, 1) + HeadFlops(config, 2048);
  const double rule = 2.0 * 2048 * 6.738e9;
  // The embedding is looked up, not multiplied; attention adds 32 · 2 · 4096 · 2048 a token.
  EXPECT_NEAR(flops / rule, 1 - 0.131 / 6.738 + 0.5369 / (2 * 6.738), 1e-3);
}

TEST(ModelCostTest, GramMatricesOfLlama7B) {
  // 3 · 4096² + 11008² floats a layer: about 22 GB, more than the weights.
  EXPECT_EQ(32 * LayerGramBytes(Llama7B()), 32LL * 4 * (3 * 4096 * 4096 + 11008 * 11008));
  EXPECT_EQ(LayerReformedBytes(Llama7B(), 1), 4LL * 4096 * (4096 + 11008));
  EXPECT_EQ(LayerRepairedBytes(Llama7B(), 1, Precision::kBFloat16),
            2LL * 4096 * (2 * 4096 + 11008));
  EXPECT_EQ(LayerInPlaceBytes(Llama7B(), 1, Precision::kFloat32), 4LL * 4096 * 4096);
}

}  // namespace
}  // namespace espalier
