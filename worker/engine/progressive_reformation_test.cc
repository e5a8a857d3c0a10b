// Progressive reformation against the same least-squares problems, written out row by row in
// float64 and solved without a Gram matrix, on plain libtorch operations.
#include "worker/engine/progressive_reformation.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <cmath>

#include "common/model_folder.h"
#include "worker/engine/test_model.h"

namespace espalier {
namespace {

double Distance(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).norm() / b.norm()).item<double>();
}

class ProgressiveReformationTest : public ::testing::Test {
 protected:
  ProgressiveReformationTest()
      : config_(TestConfig(6, 2, false)),
        model_(*LoadResidentModel(*OpenModelFolder(WriteTestModel(config_, 21, "progressive")),
                                  WholeModel(config_), at::kFloat, at::kCPU)),
        subnet_(RandomTestSubnet(config_, 0.6, false, 3)),
        pool_(2),
        backend_(MakeCpuBackend(&pool_)),
        plain_(MakeTensorBackend()) {}

  // Of random tokens, before the first layer.
  Streams Embedded(int64_t sequences, int64_t length, int64_t fitted, double weight) const {
    const TokenSequences tokens = RandomTokens(config_, sequences, length, 7 + length);
    const at::Tensor x = plain_->Embed(model_, tokens.tokens.data(), std::ssize(tokens.tokens));
    return {x.clone(), x.clone(), length, fitted * length, weight};
  }

  LayerSelection Select(int64_t layer, const Subnet& subnet, bool mlp) const {
    LayerSelection selection =
        SelectLayer(subnet.layers[layer], model_.subnet.layers[layer], config_);
    if (mlp) {
      selection.group_pairs.clear();
      selection.pairs.clear();
      selection.query_rows.clear();
      selection.key_rows.clear();
    } else {
      selection.channels.clear();
    }
    return selection;
  }

  // Takes rows past one module; the inputs of its output linear.
  at::Tensor Run(int64_t layer, const LayerSelection& selection, int64_t length, at::Tensor* x) {
    at::Tensor inner;
    plain_->RunLayer(model_, layer, selection, x->size(0) / length, length, x,
                     [&](const LayerInputs& inputs) {
                       const at::Tensor& a = inputs.down.defined() ? inputs.down : inputs.o;
                       inner = inner.defined() ? at::cat({inner, a}) : a.clone();
                     });
    return inner;
  }

  at::Tensor Norm(const at::Tensor& x, const at::Tensor& weight) const {
    const at::Tensor wide = x.to(at::kDouble);
    return wide / (wide.square().mean(-1, /*keepdim=*/true) + config_.rms_norm_eps).sqrt() *
           weight.to(at::kDouble);
  }

  // The C with the least ‖target − a C‖² + λ‖C‖².
  static at::Tensor LeastSquares(const at::Tensor& a, const at::Tensor& target, double damping) {
    const double lambda = damping * a.square().sum(0).mean().item<double>();
    const int64_t n = a.size(1);
    const at::Tensor left = at::cat({a, std::sqrt(lambda) * at::eye(n, at::kDouble)});
    const at::Tensor right = at::cat({target, at::zeros({n, target.size(1)}, at::kDouble)});
    return std::get<0>(at::linalg_lstsq(left, right));
  }

  static at::Tensor Rows(const at::Tensor& matrix, const std::vector<int64_t>& rows) {
    return matrix.index_select(0, at::tensor(rows, at::kLong));
  }

  // The weights of one module, whose q and v were those of `start` if defined; takes the streams
  // past it.
  LayerWeights Expected(int64_t index, bool mlp, const LayerWeights& start,
                        std::vector<Streams>* parts) {
    const ResidentLayer& layer = model_.layers[index];
    const at::Tensor& norm = mlp ? layer.mlp_norm : layer.attention_norm;
    LayerSelection own = Select(index, subnet_, mlp);
    std::vector<at::Tensor> before;
    std::vector<at::Tensor> goals;
    for (const Streams& part : *parts) {
      const at::Tensor h = Norm(part.reformed.narrow(0, 0, part.fitted_rows), norm);
      before.push_back(h);
      goals.push_back(Norm(part.dense.narrow(0, 0, part.fitted_rows), norm) - h);
    }
    const at::Tensor change = LeastSquares(at::cat(before), at::cat(goals), options_.input_damping);
    const auto mapped_rows = [&](const at::Tensor& weights) {
      const at::Tensor kept = weights.to(at::kDouble);
      return (kept + kept.mm(change.t())).to(at::kFloat);
    };
    const auto mapped = [&](const at::Tensor& weights, const std::vector<int64_t>& rows) {
      return mapped_rows(Rows(weights, rows));
    };
    if (mlp) {
      own.weights.gate = mapped(layer.gate, own.channels);
      own.weights.up = mapped(layer.up, own.channels);
    } else {
      own.weights.q = mapped_rows(start.q.defined() ? start.q : Rows(layer.q, own.query_rows));
      own.weights.k = mapped(layer.k, own.key_rows);
      own.weights.v = mapped_rows(start.v.defined() ? start.v : Rows(layer.v, own.key_rows));
    }
    const at::Tensor centre =
        (mlp ? Rows(layer.down_transposed, own.channels) : Rows(layer.o_transposed, own.query_rows))
            .to(at::kDouble);
    std::vector<at::Tensor> inner;
    std::vector<at::Tensor> missing;
    for (Streams& part : *parts) {
      Run(index, Select(index, model_.subnet, mlp), part.length, &part.dense);
      at::Tensor x = part.reformed.narrow(0, 0, part.fitted_rows).clone();
      const at::Tensor a = Run(index, own, part.length, &x).to(at::kDouble);
      const at::Tensor target =
          (part.dense.narrow(0, 0, part.fitted_rows) - part.reformed.narrow(0, 0, part.fitted_rows))
              .to(at::kDouble);
      inner.push_back(std::sqrt(part.weight) * a);
      missing.push_back(std::sqrt(part.weight) * (target - a.mm(centre)));
    }
    const at::Tensor output =
        (centre + LeastSquares(at::cat(inner), at::cat(missing), options_.progressive_damping))
            .to(at::kFloat);
    (mlp ? own.weights.down_transposed : own.weights.o_transposed) = output;
    for (Streams& part : *parts) Run(index, own, part.length, &part.reformed);
    return own.weights;
  }

  // The tensors of one module.
  static void ExpectNear(const LayerWeights& a, const LayerWeights& b, bool mlp, double most) {
    const auto near = [&](const at::Tensor& one, const at::Tensor& other) {
      EXPECT_LT(Distance(one, other), most);
    };
    if (mlp) {
      near(a.gate, b.gate);
      near(a.up, b.up);
      near(a.down_transposed, b.down_transposed);
    } else {
      near(a.q, b.q);
      near(a.k, b.k);
      near(a.v, b.v);
      near(a.o_transposed, b.o_transposed);
    }
  }

  const c10::InferenceMode no_autograd_;
  const ModelConfig config_;
  const ResidentModel model_;
  const Subnet subnet_;
  const ReformationSpec options_;
  ThreadPool pool_;
  const std::unique_ptr<Backend> backend_;
  const std::unique_ptr<Backend> plain_;
};

// Long sequences, the last of which are not fitted to, and many of one token that count less.
// One backend keeps what output linears get, the other computes it again.
TEST_F(ProgressiveReformationTest, SolvesItsLeastSquaresProblems) {
  for (Backend* backend : {backend_.get(), plain_.get()}) {
    std::vector<Streams> streams = {Embedded(10, 48, /*fitted=*/8, 1), Embedded(100, 1, 100, 0.08)};
    std::vector<Streams> expected;
    for (const Streams& part : streams) {
      expected.push_back(part);
      expected.back().dense = part.dense.clone();
      expected.back().reformed = part.reformed.clone();
    }
    std::vector<LayerSelection> selections;
    for (int64_t i = 0; i < config_.num_layers; ++i) {
      selections.push_back(SelectLayer(subnet_.layers[i], model_.subnet.layers[i], config_));
    }
    // One attention has queries and values of its own already.
    selections[1].weights.q =
        at::randn({std::ssize(selections[1].query_rows), config_.hidden_size}, at::kFloat);
    selections[1].weights.v =
        at::randn({std::ssize(selections[1].key_rows), config_.hidden_size}, at::kFloat);
    const auto reformed =
        ComputeProgressiveReformation(model_, selections, options_, backend, &pool_, {}, &streams);
    ASSERT_TRUE(reformed.ok()) << reformed.status();
    for (int64_t i = 0; i < config_.num_layers; ++i) {
      const LayerWeights& weights = reformed->weights->layers[i];
      for (const bool mlp : {false, true}) {
        const bool present = mlp ? selections[i].has_mlp() : selections[i].has_attention();
        if (!present) {
          for (Streams& part : expected) {
            Run(i, Select(i, model_.subnet, mlp), part.length, &part.dense);
          }
          continue;
        }
        const LayerWeights module = Expected(i, mlp, selections[i].weights, &expected);
        ExpectNear(weights, module, mlp, 1e-4);
      }
    }
    for (size_t part = 0; part < streams.size(); ++part) {
      EXPECT_LT(Distance(streams[part].dense, expected[part].dense), 1e-4) << part;
      EXPECT_LT(Distance(streams[part].reformed, expected[part].reformed), 1e-4) << part;
    }
  }
}

// In bfloat16, inputs and targets are rounded; what is left unexplained is as much.
TEST_F(ProgressiveReformationTest, ExplainsAsMuchInBFloat16) {
  const ResidentModel narrow =
      *LoadResidentModel(*OpenModelFolder(WriteTestModel(config_, 21, "progressive")),
                         WholeModel(config_), at::kBFloat16, at::kCPU);
  std::vector<LayerSelection> selections;
  for (int64_t i = 0; i < config_.num_layers; ++i) {
    selections.push_back(SelectLayer(subnet_.layers[i], model_.subnet.layers[i], config_));
  }
  const auto errors = [&](const ResidentModel& model, Backend* backend) {
    std::vector<Streams> streams = {Embedded(10, 48, /*fitted=*/8, 1), Embedded(100, 1, 100, 0.08)};
    auto reformed =
        ComputeProgressiveReformation(model, selections, options_, backend, &pool_, {}, &streams);
    EXPECT_TRUE(reformed.ok()) << reformed.status();
    return reformed.ok() ? reformed->errors : std::vector<ReformationError>();
  };
  const std::vector<ReformationError> wide = errors(model_, backend_.get());
  ASSERT_FALSE(wide.empty());
  for (Backend* backend : {backend_.get(), plain_.get()}) {
    const std::vector<ReformationError> rounded = errors(narrow, backend);
    ASSERT_EQ(rounded.size(), wide.size());
    for (size_t i = 0; i < wide.size(); ++i) {
      EXPECT_LT(wide[i].after, wide[i].before);
      EXPECT_NEAR(rounded[i].after, wide[i].after, 0.02 * wide[i].after) << i;
    }
  }
}

// What the engine fits to: all sequences but the last sixteenth, and 2,048 of their tokens, which
// weigh as much as the sequences' own first tokens.
TEST_F(ProgressiveReformationTest, TheEngineFitsToSequencesAndToTokensOnTheirOwn) {
  constexpr int64_t kLength = 300;
  constexpr int64_t kFitted = 8 * kLength;
  const TokenSequences tokens = RandomTokens(config_, 9, kLength, 11);
  const auto engine = *Engine::Load(WriteTestModel(config_, 21, "progressive"), {.threads = 2});
  const auto calibration = engine->Calibrate(tokens);
  ASSERT_TRUE(calibration.ok()) << calibration.status();
  const auto reformed = engine->ReformProgressively(**calibration, subnet_, options_, tokens);
  ASSERT_TRUE(reformed.ok()) << reformed.status();

  std::vector<int32_t> starts;
  for (int64_t i = 0; i < 2048; ++i) starts.push_back(tokens.tokens[i * kFitted / 2048]);
  const auto embedded = [&](const std::vector<int32_t>& ids, int64_t length, int64_t fitted,
                            double weight) -> Streams {
    const at::Tensor x = plain_->Embed(model_, ids.data(), std::ssize(ids));
    return {x.clone(), x.clone(), length, fitted, weight};
  };
  std::vector<Streams> streams = {embedded(tokens.tokens, kLength, kFitted, 1),
                                  embedded(starts, 1, 2048, 8 / 2048.0)};
  ReformationSpec repair = options_;
  repair.method = ReformationMethod::kProjected;
  const auto repaired = ComputeReformation(model_, **calibration, subnet_, repair, &pool_, {});
  ASSERT_TRUE(repaired.ok()) << repaired.status();
  std::vector<LayerSelection> selections;
  for (int64_t i = 0; i < config_.num_layers; ++i) {
    selections.push_back(SelectLayer(subnet_.layers[i], model_.subnet.layers[i], config_));
    selections.back().weights = repaired->weights->layers[i];
  }
  const auto expected = ComputeProgressiveReformation(model_, selections, options_, backend_.get(),
                                                      &pool_, {}, &streams);
  ASSERT_TRUE(expected.ok()) << expected.status();
  for (int64_t i = 0; i < config_.num_layers; ++i) {
    for (const bool mlp : {false, true}) {
      const bool present = mlp ? selections[i].has_mlp() : selections[i].has_attention();
      if (!present) continue;
      ExpectNear(reformed->weights->layers[i], expected->weights->layers[i], mlp, 1e-6);
    }
  }
}

}  // namespace
}  // namespace espalier
