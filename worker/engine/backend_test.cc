// The fused CPU path against the same computation in plain libtorch operations.
#include "worker/engine/backend.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include "common/model_folder.h"
#include "worker/engine/test_model.h"

namespace espalier {
namespace {

constexpr int64_t kSequences = 3;

class BackendTest : public ::testing::TestWithParam<int64_t> {};

// Relative distance of two tensors.
double Distance(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).norm() / b.norm()).item<double>();
}

TEST_P(BackendTest, FusedPathEqualsPlainOperations) {
  const c10::InferenceMode no_autograd;
  const int64_t length = GetParam();
  ModelConfig config = TestConfig(6, 2, false);
  config.rope_scaling = Llama3RopeScaling{.factor = 4,
                                          .low_freq_factor = 1,
                                          .high_freq_factor = 4,
                                          .original_max_position_embeddings = 64};
  const auto folder = OpenModelFolder(WriteTestModel(config, 21, "backends"));
  ASSERT_TRUE(folder.ok()) << folder.status();
  auto model = LoadResidentModel(*folder, WholeModel(folder->config), at::kFloat, at::kCPU);
  ASSERT_TRUE(model.ok()) << model.status();
  model->config = config;  // with the frequency scaling that the test's config.json lacks

  ThreadPool pool(2);
  const std::unique_ptr<Backend> fused = MakeCpuBackend(&pool);
  const std::unique_ptr<Backend> plain = MakeTensorBackend();
  const TokenSequences tokens = RandomTokens(config, kSequences, length, 7);
  for (uint64_t seed = 0; seed < 4; ++seed) {
    const Subnet subnet =
        seed == 0 ? Subnet::Dense(config) : RandomTestSubnet(config, 0.55, seed == 3, seed);
    at::Tensor x = fused->Embed(*model, tokens.tokens.data(), kSequences * length);
    at::Tensor y = plain->Embed(*model, tokens.tokens.data(), kSequences * length);
    ASSERT_TRUE(at::equal(x, y));
    for (int64_t layer = 0; layer < config.num_layers; ++layer) {
      const LayerSelection selection =
          SelectLayer(subnet.layers[layer], model->subnet.layers[layer], config);
      LayerInputs mine;
      const auto keep = [&](const LayerInputs& inputs) { mine = inputs; };
      fused->RunLayer(*model, layer, selection, kSequences, length, &x, keep);
      const auto compare = [&](const LayerInputs& theirs) {
        if (selection.has_attention()) {
          EXPECT_LT(Distance(mine.qkv, theirs.qkv), 1e-5);
          EXPECT_LT(Distance(mine.o, theirs.o), 1e-5);
        }
        if (selection.has_mlp()) {
          EXPECT_LT(Distance(mine.gate_up, theirs.gate_up), 1e-5);
          EXPECT_LT(Distance(mine.down, theirs.down), 1e-5);
        }
      };
      plain->RunLayer(*model, layer, selection, kSequences, length, &y, compare);
      ASSERT_LT(Distance(x, y), 1e-5) << "layer " << layer << " mask seed " << seed;
    }
    const DenseRows dense = plain->Predictions(*model, at::randn_like(x));
    const auto losses = fused->Losses(*model, model->final_norm, x, tokens.tokens.data(),
                                      kSequences, length, &dense);
    const auto expected = plain->Losses(*model, model->final_norm, y, tokens.tokens.data(),
                                        kSequences, length, &dense);
    for (int64_t s = 0; s < kSequences; ++s) {
      EXPECT_NEAR(losses[s].nll, expected[s].nll, 1e-5 * expected[s].nll);
      EXPECT_GT(expected[s].kl, 0);
      EXPECT_NEAR(losses[s].kl, expected[s].kl, 1e-5 * expected[s].nll);
    }
    const DenseRows fused_rows = fused->Predictions(*model, x);
    const DenseRows plain_rows = plain->Predictions(*model, x);
    EXPECT_LT(Distance(fused_rows.expected, plain_rows.expected), 1e-5);
    EXPECT_LT(Distance(fused_rows.entropy, plain_rows.entropy), 1e-5);
  }
}

// Within a tile, at its end, over several key blocks, over several steps of the softmax.
INSTANTIATE_TEST_SUITE_P(Lengths, BackendTest, ::testing::Values(2, 63, 64, 65, 200, 700));

// The definition, with every probability written out.
TEST(DivergenceTest, IsTheSumOverTheVocabulary) {
  const c10::InferenceMode no_autograd;
  const int64_t length = 37;
  const auto folder = OpenModelFolder(WriteTestModel(TestConfig(4, 2, true), 22, "divergence"));
  ASSERT_TRUE(folder.ok()) << folder.status();
  const auto model = LoadResidentModel(*folder, WholeModel(folder->config), at::kFloat, at::kCPU);
  ASSERT_TRUE(model.ok()) << model.status();
  const at::Tensor p_stream = at::randn({2 * length, model->config.hidden_size}, at::kFloat);
  const at::Tensor q_stream = p_stream + at::randn_like(p_stream) * 0.3;
  const TokenSequences tokens = RandomTokens(model->config, 2, length, 5);
  const auto log_probabilities = [&](const at::Tensor& x) {
    const at::Tensor norm =
        x * at::rsqrt(x.square().mean(-1, true) + model->config.rms_norm_eps) * model->final_norm;
    return at::log_softmax(norm.to(at::kDouble).mm(model->head.to(at::kDouble).t()), -1);
  };
  const at::Tensor p = log_probabilities(p_stream);
  const at::Tensor kl = (p.exp() * (p - log_probabilities(q_stream))).sum(-1).view({2, length});
  ThreadPool pool(2);
  const std::unique_ptr<Backend> backend = MakeCpuBackend(&pool);
  const DenseRows dense = backend->Predictions(*model, p_stream);
  const auto same =
      backend->Losses(*model, model->final_norm, p_stream, tokens.tokens.data(), 2, length, &dense);
  const auto other =
      backend->Losses(*model, model->final_norm, q_stream, tokens.tokens.data(), 2, length, &dense);
  for (int64_t s = 0; s < 2; ++s) {
    const double expected = kl[s].narrow(0, 0, length - 1).sum().item<double>();
    EXPECT_GT(expected, 0.01);
    EXPECT_NEAR(other[s].kl, expected, 1e-4 * expected + 1e-5 * length);
    EXPECT_NEAR(same[s].kl, 0, 1e-5 * length);
  }
}

// Half of each layer's pairs and channels; sequences that fill neither a tile nor a group of them.
TEST(HalvesTest, InnerAndOutputAreAWholeModule) {
  const c10::InferenceMode no_autograd;
  constexpr int64_t kLength = 77;
  constexpr int64_t kCount = 60;
  const ModelConfig config = TestConfig(6, 2, false);
  const auto folder = OpenModelFolder(WriteTestModel(config, 25, "halves"));
  ASSERT_TRUE(folder.ok()) << folder.status();
  const Subnet subnet = RandomTestSubnet(config, 0.5, false, 3);
  const TokenSequences tokens = RandomTokens(config, kCount, kLength, 8);
  ThreadPool pool(2);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    auto model = LoadResidentModel(*folder, WholeModel(folder->config), type, at::kCPU);
    ASSERT_TRUE(model.ok()) << model.status();
    model->layers[1].o_bias = at::randn({config.hidden_size});
    for (const bool fused : {true, false}) {
      const std::unique_ptr<Backend> backend = fused ? MakeCpuBackend(&pool) : MakeTensorBackend();
      for (const bool mlp : {false, true}) {
        LayerMask mask = subnet.layers[1];
        if (mlp) {
          mask.attention.assign(config.num_kv_heads, Bitmask(config.pairs()));
        } else {
          mask.mlp = Bitmask(config.intermediate_size);
        }
        const LayerSelection selection = SelectLayer(mask, model->subnet.layers[1], config);
        const at::Tensor before = backend->Embed(*model, tokens.tokens.data(), kCount * kLength);
        at::Tensor whole = before.clone();
        backend->RunLayer(*model, 1, selection, kCount, kLength, &whole, {});
        at::Tensor halves = before.clone();
        const at::Tensor inner = backend->Inner(*model, 1, selection, kCount, kLength, halves);
        ASSERT_TRUE(at::equal(halves, before));
        const int64_t first = 13 * kLength;  // the output of any rows
        for (const auto& [row, count] :
             {std::pair(int64_t{0}, first), std::pair(first, kCount * kLength - first)}) {
          at::Tensor rows = halves.narrow(0, row, count);
          backend->AddOutput(*model, 1, selection, inner.narrow(0, row, count), &rows);
        }
        EXPECT_LT(Distance(halves, whole), 1e-6) << type << fused << mlp;
        EXPECT_GT(Distance(halves, before), 0.01) << type << fused << mlp;
      }
    }
  }
}

// Sums over tokens, of either backend and for inputs of either type.
class SumsTest : public ::testing::TestWithParam<std::tuple<bool, at::ScalarType>> {
 protected:
  SumsTest()
      : backend_(std::get<0>(GetParam()) ? MakeCpuBackend(&pool_) : MakeTensorBackend()),
        type_(std::get<1>(GetParam())) {}

  const c10::InferenceMode no_autograd_;
  ThreadPool pool_{2};
  std::unique_ptr<Backend> backend_;
  at::ScalarType type_;
};

TEST_P(SumsTest, ProductsAccumulateOverCalls) {
  const at::Tensor left = at::randn({70, 300}, at::kFloat).to(type_);
  const at::Tensor right = at::randn({70, 530}, at::kFloat).to(type_);
  at::Tensor product = at::zeros({300, 530}, at::kFloat);
  backend_->AccumulateProduct(left.narrow(0, 0, 33), right.narrow(0, 0, 33), &product);
  backend_->AccumulateProduct(left.narrow(0, 33, 37), right.narrow(0, 33, 37), &product);
  const at::Tensor expected = left.to(at::kDouble).t().mm(right.to(at::kDouble));
  EXPECT_LT(Distance(product.to(at::kDouble), expected), 1e-6);
}

TEST_P(SumsTest, GramMatricesAccumulateOverCallsAndAreSymmetric) {
  // More rows than are packed at a time, and widths that fill no block, tile or pair of rows.
  for (const auto& [rows, width] : {std::pair(4133, 75), std::pair(91, 601), std::pair(7, 128)}) {
    const at::Tensor x = at::randn({rows, width}, at::kFloat).to(type_);
    at::Tensor gram = at::zeros({width, width}, at::kFloat);
    backend_->AccumulateGram(x.narrow(0, 0, 5), &gram);
    backend_->AccumulateGram(x.narrow(0, 5, rows - 5), &gram);
    backend_->FinishGram(&gram);
    const at::Tensor wide = x.to(at::kDouble);
    EXPECT_LT(Distance(gram.to(at::kDouble), at::mm(wide.t(), wide)), 2e-6) << rows;
    EXPECT_LT(Distance(gram, gram.t()), 1e-6) << rows;
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, SumsTest,
                         ::testing::Combine(::testing::Bool(),
                                            ::testing::Values(at::kFloat, at::kBFloat16)));

}  // namespace
}  // namespace espalier
