#include "common/plan/progressive_cost.h"

#include "common/plan/model_cost.h"
#include "common/plan/test_counter.h"
#include "common/testing/model_shapes.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

// d = 6, H = 4, G = 2, h = 4, f = 20: half of it keeps 8 inputs of o and 10 channels.
ModelConfig Tiny() {
  ModelConfig config = LlamaShape(2, 6, 4, 20);
  config.num_kv_heads = 2;
  config.head_dim = 4;
  return config;
}
constexpr int64_t kSequences = 3;
constexpr int64_t kLength = 5;
// So few tokens are all sequences of their own, too.
constexpr int64_t kTokens = 2 * kSequences * kLength;

TEST(ProgressiveCostTest, PassesAreOneOfEachLayerAndOnAGpuTheSubnetsInputsOnceMore) {
  // The projections of a token and the causal attention of 5: 15 meetings.
  const auto pass = [](int64_t query, int64_t key, int64_t channels) {
    MultiplyAdds counter;
    for (int64_t sequence = 0; sequence < kSequences; ++sequence) {
      counter.Product(kLength, 6, query + 2 * key);
      counter.Product(15, query, 1);
      counter.Product(15, 1, query);
      counter.Product(kLength, query, 6);
      counter.Product(kLength, 6, 2 * channels);
      counter.Product(kLength, channels, 6);
    }
    for (int64_t start = 0; start < kSequences * kLength; ++start) {
      counter.Product(1, 6, query + 2 * key);
      counter.Product(1, query, 1);
      counter.Product(1, 1, query);
      counter.Product(1, query, 6);
      counter.Product(1, 6, 2 * channels);
      counter.Product(1, channels, 6);
    }
    return counter.flops();
  };
  EXPECT_DOUBLE_EQ(LayerProgressiveFlops(Tiny(), 0.5, kSequences, kLength, false).passes,
                   pass(16, 8, 20) + pass(8, 4, 10));
  MultiplyAdds outputs;
  outputs.Product(kTokens, 8, 6);
  outputs.Product(kTokens, 10, 6);
  EXPECT_DOUBLE_EQ(LayerProgressiveFlops(Tiny(), 0.5, kSequences, kLength, true).passes,
                   pass(16, 8, 20) + 2 * pass(8, 4, 10) - outputs.flops());
}

TEST(ProgressiveCostTest, FitsLoopByLoop) {
  for (const bool gpu : {false, true}) {
    MultiplyAdds products;
    MultiplyAdds weights;
    MultiplyAdds solves;
    const auto gram = [&](int64_t n) {
      gpu ? products.Product(n, kTokens, n) : products.Triangle(n, kTokens);
    };
    // Kept inputs of o and down, and the rows whose inputs are mapped.
    for (const auto& [inner, mapped] : {std::pair(8, 8 + 4 + 4), std::pair(10, 10 + 10)}) {
      gram(6);                          // Σ h hᵀ
      products.Product(6, kTokens, 6);  // Σ h (ĥ − h)ᵀ
      solves.FactoriseSymmetric(6);     // M
      solves.Substitute(6, 6);
      weights.Product(mapped, 6, 6);        // W M
      gram(inner);                          // Σ a aᵀ
      products.Product(inner, kTokens, 6);  // Σ a tᵀ
      weights.Product(inner, inner, 6);     // the error before
      weights.Product(inner, inner, 6);     // what is left for the change to explain
      solves.FactoriseSymmetric(inner);
      solves.Substitute(inner, 6);
      weights.Product(inner, inner, 6);  // the error after
    }
    const ProgressiveFlops flops = LayerProgressiveFlops(Tiny(), 0.5, kSequences, kLength, gpu);
    EXPECT_DOUBLE_EQ(flops.products, products.flops());
    EXPECT_DOUBLE_EQ(flops.weights, weights.flops());
    EXPECT_NEAR(flops.solves, solves.flops(), 1e-9 * solves.flops());
    EXPECT_DOUBLE_EQ(flops.sum(), flops.passes + flops.products + flops.weights + flops.solves);
  }
}

TEST(ProgressiveCostTest, StartsAreAtMostTheTextsTokens) {
  EXPECT_EQ(ProgressiveStarts(3, 5), 15);
  EXPECT_EQ(ProgressiveStarts(128, 512), 2048);
}

TEST(ProgressiveCostTest, ItsWeightsAreTheModulesOwnAndOutputsInFloat32) {
  // Half of q, k, v, gate and up in bfloat16, half of o and down in float32.
  EXPECT_EQ(LayerProgressiveBytes(Tiny(), 0.5, Precision::kBFloat16),
            2 * 6 * (8 + 4 + 4 + 10 + 10) + 4 * 6 * (8 + 10));
}

}  // namespace
}  // namespace espalier
