// The baselines' metrics by their definitions: loops over the weights of the folder's tensors and
// over the inputs themselves, no Gram matrix and no sums.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/model_folder.h"
#include "worker/engine/backend.h"
#include "worker/engine/statistics.h"
#include "worker/engine/test_model.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;

class BaselineScoresTest : public ::testing::Test {
 protected:
  BaselineScoresTest()
      : path_(WriteTestModel(config_, 41, "baseline_scores")),
        tokens_(RandomTokens(config_, 12, 100, 4)),
        folder_(*OpenModelFolder(path_)) {
    const auto model = LoadResidentModel(folder_, WholeModel(config_), at::kFloat, at::kCPU);
    const std::unique_ptr<Backend> plain = MakeTensorBackend();
    at::Tensor x = plain->Embed(*model, tokens_.tokens.data(), std::ssize(tokens_.tokens));
    for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
      const LayerMask& dense = model->subnet.layers[layer];
      plain->RunLayer(*model, layer, SelectLayer(dense, dense, config_), tokens_.count(),
                      tokens_.sequence_length, &x,
                      [&](const LayerInputs& inputs) { inputs_.push_back(inputs); });
    }
  }

  UnitScores Scores(ScoreKind kind) const {
    const auto engine = Engine::Load(path_, {.threads = 2});
    const auto calibration = (*engine)->Calibrate(tokens_);
    const auto scores = (*engine)->BaselineScores(**calibration, kind);
    EXPECT_TRUE(scores.ok()) << scores.status();
    return *scores;
  }

  // [out, in] float64.
  at::Tensor Weights(int64_t layer, const std::string& name) const {
    const TensorView view =
        *folder_.tensors->Get(absl::StrCat("model.layers.", layer, ".", name, ".weight"));
    return at::from_blob(const_cast<char*>(view.bytes.data()), view.shape, at::kFloat)
        .to(at::kDouble);
  }

  static double SumOver(const at::Tensor& values, double (*term)(double)) {
    const at::Tensor flat = values.contiguous();
    double sum = 0;
    for (int64_t i = 0; i < flat.numel(); ++i) sum += term(flat.data_ptr<double>()[i]);
    return sum;
  }
  static double Square(double x) { return x * x; }
  static double Magnitude(double x) { return std::abs(x); }

  // Of input j of a linear.
  static double Metric(ScoreKind kind, const at::Tensor& weights, const at::Tensor& inputs,
                       int64_t j) {
    const at::Tensor column = weights.select(1, j);
    const at::Tensor x = inputs.select(1, j).to(at::kDouble);
    if (kind == ScoreKind::kWanda) {
      return SumOver(column, Magnitude) * std::sqrt(SumOver(x, Square));
    }
    const double mean = x.mean().item<double>();
    return SumOver(column, Square) * SumOver(x - mean, Square) / static_cast<double>(x.numel() - 1);
  }

  // Of all inputs; fluctuations of attention are squared, and all are in standard deviations.
  static at::Tensor Metrics(ScoreKind kind, const at::Tensor& weights, const at::Tensor& inputs,
                            bool attention) {
    std::vector<double> metrics;
    for (int64_t j = 0; j < weights.size(1); ++j) {
      const double metric = Metric(kind, weights, inputs, j);
      const bool squared = kind == ScoreKind::kFluctuation && attention;
      metrics.push_back(squared ? metric * metric : metric);
    }
    const at::Tensor all = at::tensor(metrics, at::kDouble);
    return kind == ScoreKind::kFluctuation ? all / all.std() : all;
  }

  // Dims of a head that a pair has, of all heads of the group.
  std::vector<int64_t> QueryDims(int64_t group, int64_t pair) const {
    std::vector<int64_t> dims;
    for (int64_t head = 3 * group; head < 3 * group + 3; ++head) {
      dims.insert(dims.end(), {head * 16 + pair, head * 16 + pair + 8});
    }
    return dims;
  }

  const c10::InferenceMode no_autograd_;
  const ModelConfig config_ = TestConfig(6, 2, true);
  const std::filesystem::path path_;
  const TokenSequences tokens_;
  const ModelFolder folder_;
  std::vector<LayerInputs> inputs_;
};

TEST_F(BaselineScoresTest, MagnitudeSumsTheSquaresOfAllWeightsOfAUnit) {
  const UnitScores scores = Scores(ScoreKind::kMagnitude);
  for (const int64_t layer : {0, 2}) {
    const at::Tensor q = Weights(layer, "self_attn.q_proj");
    const at::Tensor k = Weights(layer, "self_attn.k_proj");
    const at::Tensor v = Weights(layer, "self_attn.v_proj");
    const at::Tensor o = Weights(layer, "self_attn.o_proj");
    for (const int64_t pair : {0, 5}) {
      double expected = 0;
      for (const int64_t dim : {16 + pair, 16 + pair + 8}) {
        expected += SumOver(k[dim], Square) + SumOver(v[dim], Square);
      }
      for (const int64_t dim : QueryDims(1, pair)) {
        expected += SumOver(q[dim], Square) + SumOver(o.select(1, dim), Square);
      }
      EXPECT_NEAR(scores.layers[layer].attention[1][pair], expected, 1e-9 * expected);
    }
    const int64_t channel = 147;
    const double expected = SumOver(Weights(layer, "mlp.gate_proj")[channel], Square) +
                            SumOver(Weights(layer, "mlp.up_proj")[channel], Square) +
                            SumOver(Weights(layer, "mlp.down_proj").select(1, channel), Square);
    EXPECT_NEAR(scores.layers[layer].mlp[channel], expected, 1e-9 * expected);
  }
}

TEST_F(BaselineScoresTest, WandaAndFluctuationAreThoseOfTheInputs) {
  for (const ScoreKind kind : {ScoreKind::kWanda, ScoreKind::kFluctuation}) {
    const UnitScores scores = Scores(kind);
    for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
      const at::Tensor o = Weights(layer, "self_attn.o_proj");
      const at::Tensor o_metrics = Metrics(kind, o, inputs_[layer].o, /*attention=*/true);
      for (int64_t group = 0; group < 2; ++group) {
        for (int64_t pair = 0; pair < 8; ++pair) {
          double expected = 0;
          for (const int64_t dim : QueryDims(group, pair)) {
            expected += o_metrics[dim].item<double>();
          }
          EXPECT_NEAR(scores.layers[layer].attention[group][pair], expected, 1e-4 * expected);
        }
      }
      const at::Tensor down = Weights(layer, "mlp.down_proj");
      const at::Tensor down_metrics = Metrics(kind, down, inputs_[layer].down, /*attention=*/false);
      for (int64_t channel = 0; channel < config_.intermediate_size; ++channel) {
        const double expected = down_metrics[channel].item<double>();
        EXPECT_NEAR(scores.layers[layer].mlp[channel], expected, 1e-4 * expected);
      }
    }
  }
}

TEST_F(BaselineScoresTest, ActivationsThatAreNotFiniteAreRefused) {
  const auto model = LoadResidentModel(folder_, WholeModel(config_), at::kFloat, at::kCPU);
  Calibration calibration;
  for (int64_t i = 0; i < config_.num_layers; ++i) {
    calibration.layers.push_back({at::eye(72), at::eye(96), at::eye(72), at::eye(150),
                                  at::zeros({96}, at::kDouble), at::zeros({150}, at::kDouble)});
  }
  calibration.positions = 2;
  ThreadPool pool(1);
  EXPECT_TRUE(ComputeBaselineScores(*model, calibration, ScoreKind::kFluctuation, &pool, {}).ok());
  calibration.layers[1].down[7][7] = std::numeric_limits<float>::infinity();
  const auto scores = ComputeBaselineScores(*model, calibration, ScoreKind::kWanda, &pool, {});
  EXPECT_EQ(scores.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(scores.status().message(), HasSubstr("layer 1 MLP"));
}

}  // namespace
}  // namespace espalier
