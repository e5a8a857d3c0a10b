#include "worker/engine/statistics.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "common/model_folder.h"
#include "worker/engine/backend.h"
#include "worker/engine/test_model.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;

struct Problem {
  at::Tensor inputs;   // [n, in]
  at::Tensor weights;  // [in, out]: W transposed
  at::Tensor gram;     // [in, in]
  std::vector<int64_t> kept;
};

// Correlated inputs, so that what is kept can stand in for what goes.
Problem MakeProblem(int64_t samples, int64_t in, int64_t out, int64_t kept) {
  at::manual_seed(3);
  Problem problem;
  const at::Tensor mix = at::randn({in, in}, at::kDouble);
  problem.inputs = at::randn({samples, in}, at::kDouble).mm(mix);
  problem.weights = at::randn({in, out}, at::kFloat);
  problem.gram = problem.inputs.t().mm(problem.inputs).to(at::kFloat);
  for (int64_t i = 0; i < kept; ++i) problem.kept.push_back(i * in / kept);
  return problem;
}

at::Tensor KeptInputs(const Problem& problem) {
  return problem.inputs.index_select(1, at::tensor(problem.kept, at::kLong));
}

double RelativeError(const Problem& problem, const at::Tensor& weights) {
  const at::Tensor target = problem.inputs.mm(problem.weights.to(at::kDouble));
  const at::Tensor mine = KeptInputs(problem).mm(weights.to(at::kDouble));
  return ((target - mine).norm() / target.norm()).square().item<double>();
}

absl::StatusOr<ReformedLinear> Reform(const Problem& problem, const ReformationSpec& options) {
  return ReformLinear(problem.weights, problem.gram, problem.kept, options,
                      OutputEnergy(problem.weights.to(at::kDouble), problem.gram.to(at::kDouble)));
}

TEST(ReformLinearTest, ClosedFormReachesTheLeastSquaresOptimum) {
  const c10::InferenceMode no_autograd;
  const Problem problem = MakeProblem(400, 60, 40, 42);
  const auto reformed =
      Reform(problem, {.method = ReformationMethod::kClosedForm, .damping = 1e-9});
  ASSERT_TRUE(reformed.ok()) << reformed.status();
  // The oracle never forms a Gram matrix: singular values of the inputs themselves.
  const at::Tensor target = problem.inputs.mm(problem.weights.to(at::kDouble));
  const at::Tensor optimum = at::linalg_pinv(KeptInputs(problem)).mm(target);
  const double least = RelativeError(problem, optimum);
  EXPECT_NEAR(RelativeError(problem, reformed->weights), least, 1e-4 * least);
  EXPECT_NEAR(reformed->after, least, 1e-4 * least);
  EXPECT_GT(reformed->before, 2 * reformed->after);
}

TEST(ReformLinearTest, AdmmConvergesTowardsTheClosedForm) {
  const c10::InferenceMode no_autograd;
  const Problem problem = MakeProblem(400, 60, 40, 42);
  const auto closed = Reform(problem, {.method = ReformationMethod::kClosedForm, .damping = 1e-6});
  ASSERT_TRUE(closed.ok());
  double last = std::numeric_limits<double>::infinity();
  for (const int64_t iterations : {1, 30, 1000, 30000}) {
    ReformationSpec options{.method = ReformationMethod::kAdmm, .damping = 1e-6, .rho = 1};
    options.iterations = iterations;
    const auto admm = Reform(problem, options);
    ASSERT_TRUE(admm.ok()) << admm.status();
    EXPECT_LE(admm->after, last * (1 + 1e-9));  // it has converged
    EXPECT_LE(admm->after, admm->before);
    EXPECT_NEAR(RelativeError(problem, admm->weights), admm->after, 1e-4 * admm->after);
    last = admm->after;
  }
  EXPECT_NEAR(last, closed->after, 0.01 * closed->after);
}

TEST(ReformLinearTest, NeverWorseThanInheritedHoweverBadTheData) {
  const c10::InferenceMode no_autograd;
  for (const ReformationMethod method :
       {ReformationMethod::kClosedForm, ReformationMethod::kAdmm}) {
    // Fewer samples than inputs; a dead input; one that is a thousand times larger than the rest.
    Problem problem = MakeProblem(20, 60, 10, 30);
    problem.inputs.select(1, 2).zero_();
    problem.inputs.select(1, 5).mul_(1000);
    problem.gram = problem.inputs.t().mm(problem.inputs).to(at::kFloat);
    for (const double damping : {0.0, 1e-3, 10.0}) {
      const auto reformed = Reform(problem, {.method = method, .damping = damping});
      ASSERT_TRUE(reformed.ok()) << reformed.status();
      EXPECT_TRUE(at::isfinite(reformed->weights).all().item<bool>());
      EXPECT_LE(reformed->after, reformed->before);
    }
  }
}

TEST(ReformLinearTest, ZeroActivationsGiveFiniteWeights) {
  const c10::InferenceMode no_autograd;
  Problem problem = MakeProblem(20, 12, 4, 6);
  problem.gram.zero_();
  const auto reformed = Reform(problem, {});
  ASSERT_TRUE(reformed.ok()) << reformed.status();
  EXPECT_TRUE(at::isfinite(reformed->weights).all().item<bool>());
}

TEST(ReformLinearTest, InfiniteGramIsRefused) {
  const c10::InferenceMode no_autograd;
  Problem problem = MakeProblem(20, 12, 4, 6);
  problem.gram[0][0] = std::numeric_limits<float>::infinity();
  const auto reformed = Reform(problem, {});
  EXPECT_EQ(reformed.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(reformed.status().message(), HasSubstr("not finite"));
}

TEST(DampedCholeskyTest, GrowsDampingOnlyWhenNeeded) {
  const c10::InferenceMode no_autograd;
  const at::Tensor good = at::eye(5, at::kDouble);
  EXPECT_EQ(DampedCholesky(good, 0)->damping, 0);
  EXPECT_EQ(DampedCholesky(good, 0.01)->damping, 0.01);
  const at::Tensor singular = at::ones({5, 5}, at::kDouble) - at::eye(5, at::kDouble) * 1e-9;
  const auto factor = DampedCholesky(singular, 0);
  ASSERT_TRUE(factor.ok());
  EXPECT_GT(factor->damping, 0);
  EXPECT_LT(factor->damping, 1e-6);
}

TEST(DampedCholeskyTest, WarnsOfWhatItHadToAdd) {
  const c10::InferenceMode no_autograd;
  std::vector<std::string> warnings;
  const auto warn = [&](const std::string& text) { warnings.push_back(text); };
  const at::Tensor singular = at::ones({5, 5}, at::kDouble) - at::eye(5, at::kDouble) * 1e-9;
  ASSERT_TRUE(DampedCholesky(singular, 0.001, warn).ok());
  EXPECT_THAT(warnings, ::testing::IsEmpty());
  ASSERT_TRUE(DampedCholesky(singular, 1e-12, warn).ok());
  ASSERT_EQ(warnings.size(), 1);
  EXPECT_THAT(warnings[0], AllOf(HasSubstr("nearly singular"), HasSubstr("instead of 1e-12")));
}

// Φ by its definition, with an explicit inverse and loops over single weights.
TEST(ImportanceTest, EqualsItsDefinition) {
  const c10::InferenceMode no_autograd;
  const ModelConfig config = TestConfig(6, 2, true);
  const auto folder = OpenModelFolder(WriteTestModel(config, 31, "importance"));
  ASSERT_TRUE(folder.ok()) << folder.status();
  const auto model = LoadResidentModel(*folder, WholeModel(folder->config), at::kFloat, at::kCPU);
  ASSERT_TRUE(model.ok()) << model.status();
  at::manual_seed(5);
  const auto gram = [](int64_t n) {
    const at::Tensor x = at::randn({3 * n, n}, at::kFloat);
    return x.t().mm(x);
  };
  Calibration calibration;
  for (int64_t i = 0; i < config.num_layers; ++i) {
    calibration.layers.push_back({gram(72), gram(96), gram(72), gram(150)});
  }
  ThreadPool pool(2);
  const auto scores = ComputeImportance(*model, calibration, 0.01, &pool, {});
  ASSERT_TRUE(scores.ok()) << scores.status();

  const int64_t layer = 1;
  const auto inverse_diagonal = [](const at::Tensor& h) {
    at::Tensor damped = h.to(at::kDouble) * 2;
    damped.diagonal().add_(0.01 * damped.diagonal().mean().item<double>());
    return at::linalg_inv(damped).diagonal().clone();
  };
  const at::Tensor in = inverse_diagonal(calibration.layers[layer].qkv);
  const at::Tensor out = inverse_diagonal(calibration.layers[layer].o);
  const auto row = [](const at::Tensor& w, int64_t i, const at::Tensor& inverse) {
    double sum = 0;
    for (int64_t j = 0; j < w.size(1); ++j) {
      const double value = w[i][j].item<float>();
      sum += value * value / inverse[j].item<double>();
    }
    return sum;
  };
  const std::string prefix = "model.layers.1.self_attn.";
  const auto dense = [&](const std::string& name) {
    const TensorView view = *folder->tensors->Get(name);
    return at::from_blob(const_cast<char*>(view.bytes.data()), view.shape, at::kFloat).clone();
  };
  const at::Tensor q = dense(prefix + "q_proj.weight");
  const at::Tensor k = dense(prefix + "k_proj.weight");
  const at::Tensor v = dense(prefix + "v_proj.weight");
  const at::Tensor o = dense(prefix + "o_proj.weight");
  const int64_t group = 1;
  const int64_t pair = 3;
  double expected = 0;
  for (const int64_t dim : {pair, pair + 8}) {
    expected += row(k, group * 16 + dim, in) + row(v, group * 16 + dim, in);
    for (int64_t head = 3 * group; head < 3 * group + 3; ++head) {
      const int64_t index = head * 16 + dim;
      expected += row(q, index, in);
      for (int64_t i = 0; i < o.size(0); ++i) {
        const double value = o[i][index].item<float>();
        expected += value * value / out[index].item<double>();
      }
    }
  }
  EXPECT_NEAR(scores->layers[layer].attention[group][pair], expected, 1e-6 * expected);

  const at::Tensor mlp_in = inverse_diagonal(calibration.layers[layer].gate_up);
  const at::Tensor mlp_out = inverse_diagonal(calibration.layers[layer].down);
  const at::Tensor down = dense("model.layers.1.mlp.down_proj.weight");
  const int64_t channel = 149;
  double expected_mlp = row(dense("model.layers.1.mlp.gate_proj.weight"), channel, mlp_in) +
                        row(dense("model.layers.1.mlp.up_proj.weight"), channel, mlp_in);
  for (int64_t i = 0; i < down.size(0); ++i) {
    const double value = down[i][channel].item<float>();
    expected_mlp += value * value / mlp_out[channel].item<double>();
  }
  EXPECT_NEAR(scores->layers[layer].mlp[channel], expected_mlp, 1e-6 * expected_mlp);
}

TEST(CalibrateTest, GramsAreThoseOfTheInputs) {
  const c10::InferenceMode no_autograd;
  const ModelConfig config = TestConfig(4, 2, true);
  const std::filesystem::path path = WriteTestModel(config, 32, "grams");
  const TokenSequences tokens = RandomTokens(config, 40, 200, 2);  // more than one pass holds
  const auto engine = Engine::Load(path, {.threads = 2});
  ASSERT_TRUE(engine.ok()) << engine.status();
  const auto calibration = (*engine)->Calibrate(tokens);
  ASSERT_TRUE(calibration.ok()) << calibration.status();

  const auto folder = OpenModelFolder(path);
  const auto model = LoadResidentModel(*folder, WholeModel(folder->config), at::kFloat, at::kCPU);
  const std::unique_ptr<Backend> plain = MakeTensorBackend();
  const int64_t rows = tokens.count() * tokens.sequence_length;
  at::Tensor x = plain->Embed(*model, tokens.tokens.data(), rows);
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    const LayerSelection all =
        SelectLayer(model->subnet.layers[layer], model->subnet.layers[layer], config);
    const LayerGrams& grams = (*calibration)->layers[layer];
    const auto compare = [&](const LayerInputs& inputs) {
      const auto expect = [&](const at::Tensor& input, const at::Tensor& gram) {
        const at::Tensor wide = input.to(at::kDouble);
        const at::Tensor expected = wide.t().mm(wide);
        EXPECT_LT(((gram - expected).norm() / expected.norm()).item<double>(), 1e-5);
      };
      expect(inputs.qkv, grams.qkv);
      expect(inputs.o, grams.o);
      expect(inputs.gate_up, grams.gate_up);
      expect(inputs.down, grams.down);
    };
    plain->RunLayer(*model, layer, all, tokens.count(), tokens.sequence_length, &x, compare);
  }
}

}  // namespace
}  // namespace espalier
