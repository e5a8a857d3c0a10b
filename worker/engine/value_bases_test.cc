// Bases of values against singular values, against other subspaces, and in a layer.
#include "worker/engine/value_bases.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <limits>
#include <memory>

#include "common/model_folder.h"
#include "worker/engine/backend.h"
#include "worker/engine/test_model.h"

namespace espalier {
namespace {

at::Tensor Random(int64_t rows, int64_t columns) { return at::randn({rows, columns}, at::kDouble); }

// What o, fitted anew, cannot give of Σ x W from the inputs x in `directions` alone.
double LeastError(const at::Tensor& x, const at::Tensor& weights, const at::Tensor& directions) {
  const at::Tensor target = x.mm(weights);
  const at::Tensor seen = x.mm(directions);
  return (target - seen.mm(at::linalg_pinv(seen).mm(target))).square().sum().item<double>();
}

TEST(ValueBasesTest, OfOneHeadTheyAreTheBestByItsSingularValues) {
  const c10::InferenceMode no_autograd;
  at::manual_seed(5);
  const ModelConfig config = TestConfig(1, 1, false);
  const int64_t h = config.head_dim;
  const at::Tensor x = Random(200, h).mm(Random(h, h));
  const at::Tensor weights = Random(h, config.hidden_size);
  const auto bases = ValueBases(weights.to(at::kFloat), x.t().mm(x).to(at::kFloat), config);
  ASSERT_TRUE(bases.ok()) << bases.status();
  const at::Tensor basis = (*bases)[0];
  EXPECT_LT((basis.t().mm(basis) - at::eye(h, at::kDouble)).abs().max().item<double>(), 1e-12);
  const at::Tensor singular = std::get<1>(at::linalg_svd(x.mm(weights)));
  for (int64_t m = 1; m < h; ++m) {
    const double least = singular.slice(0, m).square().sum().item<double>();
    EXPECT_NEAR(LeastError(x, weights, basis.narrow(1, 0, m)), least, 1e-4 * least) << m;
  }
}

// Heads of a group share their values; here their inputs have one covariance, to different amounts.
TEST(ValueBasesTest, OfAGroupNoOtherDirectionsAreBetter) {
  const c10::InferenceMode no_autograd;
  at::manual_seed(6);
  const ModelConfig config = TestConfig(3, 1, false);
  const int64_t h = config.head_dim;
  const at::Tensor mix = Random(h, h);
  std::vector<at::Tensor> inputs;
  std::vector<at::Tensor> weights;
  at::Tensor gram = at::zeros({3 * h, 3 * h}, at::kDouble);
  for (int64_t head = 0; head < 3; ++head) {
    // Exactly the same covariance for all: rows that are orthogonal.
    const at::Tensor rows = std::get<0>(at::linalg_qr(Random(50, h)));
    inputs.push_back(rows.mm(mix) * (1.0 + 3.0 * static_cast<double>(head)));
    weights.push_back(Random(h, config.hidden_size));
    gram.narrow(0, head * h, h).narrow(1, head * h, h).copy_(inputs[head].t().mm(inputs[head]));
  }
  const auto bases = ValueBases(at::cat(weights).to(at::kFloat), gram.to(at::kFloat), config);
  ASSERT_TRUE(bases.ok()) << bases.status();
  const auto error = [&](const at::Tensor& directions) {
    double sum = 0;
    for (int64_t head = 0; head < 3; ++head) {
      sum += LeastError(inputs[head], weights[head], directions);
    }
    return sum;
  };
  for (const int64_t m : {1, 2, 5}) {
    const at::Tensor best = (*bases)[0].narrow(1, 0, m);
    for (int trial = 0; trial < 20; ++trial) {
      for (const double step : {0.01, 0.3, 10.0}) {
        EXPECT_GT(error(best + step * Random(h, m)), error(best)) << m << " " << step;
      }
    }
  }
}

TEST(ValueBasesTest, ANewBasisLeavesTheModelAsItIs) {
  const c10::InferenceMode no_autograd;
  const ModelConfig config = TestConfig(6, 3, false);
  const auto folder = OpenModelFolder(WriteTestModel(config, 8, "bases"));
  ASSERT_TRUE(folder.ok()) << folder.status();
  const ResidentModel model = *LoadResidentModel(*folder, WholeModel(config), at::kFloat, at::kCPU);
  const std::unique_ptr<Backend> backend = MakeTensorBackend();
  const TokenSequences tokens = RandomTokens(config, 1, 60, 4);
  const at::Tensor x = backend->Embed(model, tokens.tokens.data(), 60);
  const LayerMask& dense = model.subnet.layers[0];
  LayerSelection selection = SelectLayer(dense, dense, config);
  at::Tensor expected = x.clone();
  at::Tensor inputs;
  backend->RunLayer(model, 0, selection, 1, 60, &expected,
                    [&](const LayerInputs& seen) { inputs = seen.o.clone(); });
  const at::Tensor& o = model.layers[0].o_transposed;
  const auto bases = ValueBases(o, inputs.t().mm(inputs), config);
  ASSERT_TRUE(bases.ok()) << bases.status();
  selection.weights.o_transposed = InBases(*bases, o).to(at::kFloat);
  selection.weights.v = InBases(*bases, model.layers[0].v).to(at::kFloat);
  at::Tensor y = x.clone();
  at::Tensor turned;
  backend->RunLayer(model, 0, selection, 1, 60, &y,
                    [&](const LayerInputs& seen) { turned = seen.o.clone(); });
  EXPECT_LT((y - expected).norm().item<double>(), 1e-5 * (expected - x).norm().item<double>());
  const at::Tensor gram = turned.t().mm(turned).to(at::kDouble);
  EXPECT_LT((GramInBases(*bases, inputs.t().mm(inputs)) - gram).norm().item<double>(),
            1e-5 * gram.norm().item<double>());
}

TEST(ValueBasesTest, RefusesAGramMatrixThatIsNotFinite) {
  const c10::InferenceMode no_autograd;
  const ModelConfig config = TestConfig(6, 3, false);
  const int64_t wide = config.num_heads * config.head_dim;
  at::Tensor gram = at::eye(wide);
  gram[1][2] = std::numeric_limits<float>::infinity();
  const auto bases = ValueBases(at::randn({wide, config.hidden_size}), gram, config);
  EXPECT_EQ(bases.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ValueBasesTest, FirstDirectionsOfEachHead) {
  EXPECT_EQ(FirstDirections({2, 0, 1}, 6, 8),
            (std::vector<int64_t>{0, 1, 2, 3, 8, 9, 10, 11, 32, 33, 40, 41}));
}

}  // namespace
}  // namespace espalier
