// Rankings, repairs and progressive reformation against definitions written out, on small models.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <mutex>
#include <numeric>
#include <set>

#include "common/model_folder.h"
#include "worker/engine/attention_effects.h"
#include "worker/engine/elimination.h"
#include "worker/engine/engine.h"
#include "worker/engine/head_metric.h"
#include "worker/engine/statistics.h"
#include "worker/engine/test_model.h"
#include "worker/engine/value_bases.h"

namespace espalier {
namespace {

constexpr double kDamping = 1e-2;  // elimination.cc's

ResidentModel LoadResident(const ModelConfig& config, uint64_t seed) {
  const auto folder = OpenModelFolder(WriteTestModel(config, seed, "ranked"));
  EXPECT_TRUE(folder.ok()) << folder.status();
  return *LoadResidentModel(*folder, WholeModel(folder->config), at::kFloat, at::kCPU);
}

// Correlated inputs, [n, in].
at::Tensor Inputs(int64_t rows, int64_t in) {
  at::manual_seed(3);
  return at::randn({rows, in}, at::kDouble).mm(at::randn({in, in}, at::kDouble));
}

// min over W' of ‖W X − W' X_S‖² + damping, relative to ‖W X‖²: the Schur complement.
double LeastError(const at::Tensor& weights, const at::Tensor& gram,
                  const std::vector<int64_t>& gone) {
  const at::Tensor w = weights.to(at::kDouble);
  at::Tensor h = gram.to(at::kDouble).clone();
  const double energy = h.mm(w).mul(w).sum().item<double>();
  h.diagonal().add_(kDamping * h.diagonal().mean().item<double>());
  const at::Tensor p = at::tensor(gone, at::kLong);
  at::Tensor is_kept = at::ones({w.size(0)}, at::kBool);
  is_kept.index_fill_(0, p, false);
  const at::Tensor s = is_kept.nonzero().squeeze(1);
  const auto block = [&](const at::Tensor& a, const at::Tensor& b) {
    return h.index_select(0, a).index_select(1, b);
  };
  const at::Tensor schur =
      s.numel() == 0 ? block(p, p)
                     : block(p, p) - block(p, s).mm(at::linalg_solve(block(s, s), block(s, p)));
  const at::Tensor lost = w.index_select(0, p);
  return schur.mm(lost).mul(lost).sum().item<double>() / energy;
}

TEST(EliminateChannelsTest, ErrorsAreTheLeastOnesOfTheirSizes) {
  const c10::InferenceMode no_autograd;
  const at::Tensor x = Inputs(300, 29);
  const at::Tensor gram = x.t().mm(x).to(at::kFloat);
  const at::Tensor weights = at::randn({29, 13}, at::kFloat);
  LayerRanking ranking;
  ASSERT_TRUE(EliminateChannels(weights, gram, {.channels = 4}, {}, {}, &ranking).ok());
  ASSERT_EQ(ranking.channels.size(), 29);
  EXPECT_EQ(std::set<int32_t>(ranking.channels.begin(), ranking.channels.end()).size(), 29);
  ASSERT_EQ(ranking.channel_errors.size(), 8);  // 0, 4, ..., 28 stay
  for (int64_t i = 0; i < 8; ++i) {
    const std::vector<int64_t> gone(ranking.channels.begin(),
                                    ranking.channels.begin() + (29 - 4 * i));
    const double least = LeastError(weights, gram, gone);
    EXPECT_NEAR(ranking.channel_errors[i], least, 1e-3 * least) << 4 * i << " stay";
  }
}

TEST(EliminateChannelsTest, TheFirstToGoIsTheCheapestOfAll) {
  const c10::InferenceMode no_autograd;
  const at::Tensor x = Inputs(300, 24);
  const at::Tensor gram = x.t().mm(x).to(at::kFloat);
  const at::Tensor weights = at::randn({24, 13}, at::kFloat);
  LayerRanking ranking;
  ASSERT_TRUE(EliminateChannels(weights, gram, {.channels = 1}, {}, {}, &ranking).ok());
  for (int64_t channel = 0; channel < 24; ++channel) {
    EXPECT_LE(LeastError(weights, gram, {ranking.channels[0]}),
              LeastError(weights, gram, {channel}) * 1.0001);
  }
}

// A module whose inputs are all zero gives nothing, and any order of them is as good.
TEST(EliminateChannelsTest, NothingIsLostOfWhatGivesNothing) {
  const c10::InferenceMode no_autograd;
  LayerRanking ranking;
  ASSERT_TRUE(EliminateChannels(at::randn({16, 40}) * 100, at::zeros({16, 16}), {.channels = 4}, {},
                                {}, &ranking)
                  .ok());
  EXPECT_EQ(std::set<int32_t>(ranking.channels.begin(), ranking.channels.end()).size(), 16);
  EXPECT_THAT(ranking.channel_errors, ::testing::Each(0.0));
}

TEST(EliminateChannelsTest, StopsOnRequest) {
  const c10::InferenceMode no_autograd;
  const std::atomic<bool> cancelled = true;
  LayerRanking ranking;
  EXPECT_EQ(EliminateChannels(at::randn({16, 4}), at::eye(16), {.channels = 4},
                              {.cancelled = &cancelled}, {}, &ranking)
                .code(),
            absl::StatusCode::kCancelled);
}

TEST(EliminateAttentionTest, ErrorsAreTheLeastOnesPlusTheEffects) {
  const c10::InferenceMode no_autograd;
  const ModelConfig config = TestConfig(6, 3, false);
  const int64_t wide = config.num_heads * config.head_dim;
  const at::Tensor x = Inputs(500, wide);
  const at::Tensor gram = x.t().mm(x).to(at::kFloat);
  const at::Tensor weights = at::randn({wide, config.hidden_size}, at::kFloat);
  const at::Tensor effects = at::rand({config.num_kv_heads, config.pairs()}, at::kDouble) * 0.01;
  const at::Tensor bases = *ValueBases(weights, gram, config);
  LayerRanking ranking;
  ASSERT_TRUE(
      EliminateAttention(weights, gram, bases, effects, config, {.pairs = 2}, {}, {}, &ranking)
          .ok());
  std::set<std::string> seen;
  for (const AttentionCut& cut : ranking.attention) {
    LayerMask mask{cut.masks, Bitmask(config.intermediate_size, true)};
    EXPECT_TRUE(mask.HasAttention());
    EXPECT_LT(mask.KeptPairs(), config.num_kv_heads * config.pairs());
    std::string name;
    double expected = 0;
    std::vector<int64_t> sizes_of_groups;
    for (int64_t g = 0; g < config.num_kv_heads; ++g) {
      name += cut.masks[g].ToHex();
      sizes_of_groups.push_back(cut.masks[g].Count());
      EXPECT_EQ(cut.masks[g].Count() % 2, 0);
      if (!cut.masks[g].Any()) continue;  // its pattern went with its values
      for (const int64_t pair : cut.masks[g].ClearIndices()) {
        expected += effects[g][pair].item<double>();
        for (const int64_t kept : cut.masks[g].Indices()) {
          EXPECT_LE(effects[g][pair].item<double>(), effects[g][kept].item<double>());
        }
      }
    }
    EXPECT_TRUE(seen.insert(name).second) << "twice: " << name;
    const std::vector<int64_t> kept =
        FirstDirections(sizes_of_groups, config.num_heads, config.head_dim);
    std::vector<int64_t> gone;
    for (int64_t i = 0; i < wide; ++i) {
      if (std::find(kept.begin(), kept.end(), i) == kept.end()) gone.push_back(i);
    }
    expected += LeastError(InBases(bases, weights), GramInBases(bases, gram), gone);
    EXPECT_NEAR(cut.error, expected, 2e-3 * expected) << name;
  }
  // Every size of every number of groups.
  const int64_t sizes = config.pairs() / 2;
  EXPECT_EQ(std::ssize(ranking.attention), config.num_kv_heads * sizes - 1);
}

// The model itself without the pair: its rows of q are zero, v is whole.
TEST(PairEffectsTest, AreWhatLeavingThePairOutChanges) {
  const c10::InferenceMode no_autograd;
  const ModelConfig config = TestConfig(6, 2, false);
  const ResidentModel model = LoadResident(config, 12);
  const std::unique_ptr<Backend> backend = MakeTensorBackend();
  const int64_t length = 40;
  const TokenSequences tokens = RandomTokens(config, 1, length, 4);
  const LayerMask& dense = model.subnet.layers[1];
  LayerSelection selection = SelectLayer(dense, dense, config);
  selection.channels.clear();
  const at::Tensor x = backend->Embed(model, tokens.tokens.data(), length) * 5;
  at::Tensor inputs;
  const auto attention = [&](const at::Tensor& q) {
    LayerSelection one = selection;
    one.weights.q = q;
    one.weights.k = model.layers[1].k;
    one.weights.v = model.layers[1].v;
    at::Tensor y = x.clone();
    backend->RunLayer(model, 1, one, 1, length, &y,
                      [&](const LayerInputs& seen) { inputs = seen.qkv.clone(); });
    return y - x;
  };
  const at::Tensor whole = attention(model.layers[1].q);
  ThreadPool pool(2);
  const at::Tensor effects = PairEffects(model, 1, model.layers[1].o_transposed, inputs, &pool);
  const int64_t r = config.queries_per_group();
  for (int64_t g = 0; g < config.num_kv_heads; ++g) {
    for (int64_t pair = 0; pair < config.pairs(); ++pair) {
      at::Tensor q = model.layers[1].q.clone();
      q.view({config.num_kv_heads, r * 2, config.pairs(), -1})[g].select(1, pair).zero_();
      const double change = (attention(q) - whole).square().sum(at::kDouble).item<double>();
      const double expected = change / whole.square().sum(at::kDouble).item<double>();
      EXPECT_NEAR(effects[g][pair].item<double>(), expected, 1e-3 * expected + 1e-9);
    }
  }
}

// Logits of every query head, written out; the divergence of the patterns that small factors of all
// pairs make is the quadratic form.
TEST(PatternGramsTest, AreTheDivergencesThatFactorsOfPairsMake) {
  const c10::InferenceMode no_autograd;
  const ModelConfig config = TestConfig(6, 2, false);
  const ResidentModel model = LoadResident(config, 12);
  const int64_t length = 70;
  const int64_t pairs = config.pairs();
  at::manual_seed(4);
  const at::Tensor inputs = at::randn({length, config.hidden_size}) * 3;
  ThreadPool pool(2);
  const at::Tensor grams = PatternGrams(model, 1, inputs, &pool);
  ASSERT_EQ(grams.sizes(), (std::vector<int64_t>{6, pairs, pairs}));
  const RotaryTable table = MakeRotaryTable(config, length);
  const auto rotated = [&](const at::Tensor& weights, int64_t head) {
    const at::Tensor x = at::linear(inputs, weights).to(at::kDouble);
    const at::Tensor a = x.narrow(1, head * 2 * pairs, pairs);
    const at::Tensor b = x.narrow(1, head * 2 * pairs + pairs, pairs);
    return std::pair(at::Tensor(a * table.cos - b * table.sin),
                     at::Tensor(b * table.cos + a * table.sin));
  };
  for (int64_t head = 0; head < 6; ++head) {
    const auto q = rotated(model.layers[1].q, head);
    const auto k = rotated(model.layers[1].k, head / 3);
    const auto log_pattern = [&](const at::Tensor& factors) {
      const at::Tensor logits =
          ((q.first * factors).mm(k.first.t()) + (q.second * factors).mm(k.second.t())) / 4;
      return at::log_softmax(logits + at::full({length, length}, -1e300, at::kDouble).triu(1), -1);
    };
    const at::Tensor whole = log_pattern(at::ones({pairs}, at::kDouble));
    for (int trial = 0; trial < 5; ++trial) {
      const at::Tensor beta = at::randn({pairs}, at::kDouble) * 1e-3;
      const double divergence =
          (whole.exp() * (whole - log_pattern(1 + beta))).sum().item<double>();
      const double expected = 0.5 * beta.dot(grams[head].mv(beta)).item<double>();
      EXPECT_NEAR(divergence, expected, 0.02 * expected);
    }
  }
}

TEST(PairFactorsTest, NoOthersComeNearer) {
  const c10::InferenceMode no_autograd;
  at::manual_seed(6);
  const at::Tensor x = at::randn({40, 8}, at::kDouble).mm(at::randn({8, 8}, at::kDouble));
  const at::Tensor gram = x.t().mm(x);
  const std::vector<int64_t> kept = {0, 2, 3, 7};
  const double damping =
      1e-2 * gram.diagonal().index_select(0, at::tensor(kept, at::kLong)).mean().item<double>();
  const auto distance = [&](const at::Tensor& factors) {
    at::Tensor change = at::full({8}, -1.0, at::kDouble);
    change.index_copy_(0, at::tensor(kept, at::kLong), factors - 1);
    return (change.dot(gram.mv(change)) + damping * (factors - 1).square().sum()).item<double>();
  };
  const at::Tensor best = PairFactors(gram, kept);
  EXPECT_LT(distance(best), 0.9 * distance(at::ones({4}, at::kDouble)));
  for (int trial = 0; trial < 50; ++trial) {
    EXPECT_GT(distance(best + at::randn({4}, at::kDouble) * 0.01), distance(best));
  }
  std::vector<int64_t> all(8);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_TRUE(at::allclose(PairFactors(gram, all), at::ones({8}, at::kDouble)));
  // Pairs that do nothing keep their weights.
  EXPECT_TRUE(
      at::equal(PairFactors(at::zeros({8, 8}, at::kDouble), kept), at::ones({4}, at::kDouble)));
}

TEST(RankTest, TheLastLayersErrorsAreThoseThatTheHeadSees) {
  const ModelConfig config = TestConfig(6, 3, false);
  const auto engine = *Engine::Load(WriteTestModel(config, 41, "ranked"), {.threads = 2});
  const auto calibration = *engine->Calibrate(RandomTokens(config, 24, 100, 9));
  const CutSteps steps{.channels = 4, .pairs = 2};
  const auto ranking = engine->Rank(*calibration, steps);
  ASSERT_TRUE(ranking.ok()) << ranking.status();

  const c10::InferenceMode no_autograd;
  const ResidentModel model = LoadResident(config, 41);
  ThreadPool pool(1);
  at::Tensor metric = HeadMetric(model, calibration->outputs, &pool).to(at::kDouble);
  metric.diagonal().add_(metric.diagonal().mean().item<double>() / 9);
  const at::Tensor factor = at::linalg_cholesky(metric);
  const int64_t f = config.intermediate_size;
  for (int64_t l = 0; l < config.num_layers; ++l) {
    const LayerRanking& layer = ranking->layers[l];
    const at::Tensor plain = model.layers[l].down_transposed.to(at::kDouble);
    const at::Tensor weights = l + 1 == config.num_layers ? at::mm(plain, factor) : plain;
    for (int64_t kept = 0; kept < f; kept += steps.channels) {
      const std::vector<int64_t> gone(layer.channels.begin(), layer.channels.begin() + f - kept);
      const double least = LeastError(weights, calibration->layers[l].down, gone);
      EXPECT_NEAR(layer.channel_errors[kept / steps.channels], least, 5e-3 * least + 1e-6)
          << l << ", " << kept;
    }
  }
}

TEST(RankTest, OutputsAreKeptAtEvenlySpreadPositions) {
  const ModelConfig config = TestConfig(6, 3, false);
  const auto engine = *Engine::Load(WriteTestModel(config, 41, "ranked"), {.threads = 2});
  TokenSequences half = RandomTokens(config, 24, 100, 9);
  std::vector<int32_t> twice = half.tokens;
  twice.insert(twice.end(), half.tokens.begin(), half.tokens.end());
  const at::Tensor all = (*engine->Calibrate(half))->outputs;
  const at::Tensor some = (*engine->Calibrate(MakeTokenSequences(100, twice)))->outputs;
  ASSERT_EQ(all.size(0), 2400);
  ASSERT_EQ(some.size(0), 2400);
  const c10::InferenceMode no_autograd;
  for (int64_t first = 0; first < 2; ++first) {
    EXPECT_TRUE(at::equal(some.narrow(0, first * 1200, 1200), all.slice(0, 1, 2400, 2)));
  }
}

class ReformTest : public ::testing::Test {
 protected:
  ReformTest()
      : config_(TestConfig(6, 3, false)),
        engine_(*Engine::Load(WriteTestModel(config_, 41, "reformed"), {.threads = 2})),
        tokens_(RandomTokens(config_, 24, 100, 9)),
        calibration_(*engine_->Calibrate(tokens_)),
        dense_(*engine_->Predict(tokens_)) {}

  double Divergence(const Subnet& subnet, const ReformedWeights* weights) {
    const auto losses =
        engine_->Evaluate(subnet, tokens_, {.reformed = weights, .dense = dense_.get()});
    EXPECT_TRUE(losses.ok()) << losses.status();
    double sum = 0;
    for (const SequenceLoss& loss : *losses) sum += loss.kl_sum;
    return sum;
  }

  // The divergence once the subnet is repaired so.
  double Repaired(const Subnet& subnet, ReformationMethod method) {
    const auto reformed = engine_->Reform(*calibration_, subnet, {.method = method});
    EXPECT_TRUE(reformed.ok()) << reformed.status();
    return Divergence(subnet, reformed->weights.get());
  }

  const ModelConfig config_;
  const std::unique_ptr<Engine> engine_;
  const TokenSequences tokens_;
  const std::shared_ptr<const Calibration> calibration_;
  const std::shared_ptr<const Predictions> dense_;
};

TEST_F(ReformTest, KeptRepairsAreThoseComputedAnew) {
  const ReformationSpec options{.method = ReformationMethod::kProjected};
  const Subnet subnet = RandomTestSubnet(config_, 0.6, false, 3);
  Subnet other = subnet;
  other.layers[0].mlp = Bitmask(config_.intermediate_size, true);
  const auto again = *engine_->Calibrate(tokens_);
  ASSERT_TRUE(engine_->Reform(*calibration_, subnet, options).ok());
  const int64_t kept = calibration_->repairs.bytes();
  EXPECT_GT(kept, 0);
  const auto warm = engine_->Reform(*calibration_, other, options);
  EXPECT_EQ(calibration_->repairs.bytes(), kept);  // all of its modules were there
  const auto cold = engine_->Reform(*again, other, options);
  ASSERT_TRUE(warm.ok() && cold.ok());
  EXPECT_EQ(Divergence(other, warm->weights.get()), Divergence(other, cold->weights.get()));
  ASSERT_EQ(warm->errors.size(), cold->errors.size());
  for (size_t i = 0; i < warm->errors.size(); ++i) {
    EXPECT_EQ(warm->errors[i].after, cold->errors[i].after);
  }
}

// Groups that are whole have all directions of their values, so that both are the same function.
TEST_F(ReformTest, ProjectedWithWholeGroupsIsTheClosedForm) {
  Subnet subnet = Subnet::Dense(config_);
  for (int64_t i = 0; i < config_.num_layers; ++i) {
    subnet.layers[i].attention[i % 3] = Bitmask(config_.pairs());
  }
  const double expected = Repaired(subnet, ReformationMethod::kClosedForm);
  EXPECT_GT(expected, 0);
  EXPECT_NEAR(Repaired(subnet, ReformationMethod::kProjected), expected, 1e-3 * expected);
}

TEST_F(ReformTest, ProjectedWithThinnedGroupsIsCloserToTheDenseModel) {
  for (const uint64_t seed : {3, 4, 5}) {
    Subnet subnet = RandomTestSubnet(config_, 0.6, false, seed);
    for (LayerMask& layer : subnet.layers) layer.mlp = Bitmask(config_.intermediate_size, true);
    EXPECT_LT(Repaired(subnet, ReformationMethod::kProjected),
              Repaired(subnet, ReformationMethod::kClosedForm))
        << seed;
  }
}

TEST_F(ReformTest, ProgressiveIsCloserToTheDenseModelThanRepaired) {
  for (const uint64_t seed : {3, 4, 5}) {
    const Subnet subnet = RandomTestSubnet(config_, 0.6, seed == 5, seed);
    const auto repaired = engine_->Reform(*calibration_, subnet, {});
    const auto progressive = engine_->ReformProgressively(*calibration_, subnet, {}, tokens_);
    ASSERT_TRUE(repaired.ok() && progressive.ok());
    const double before = Divergence(subnet, repaired->weights.get());
    EXPECT_LT(Divergence(subnet, progressive->weights.get()), 0.95 * before) << seed;
    for (const ReformationError& error : progressive->errors) {
      EXPECT_LE(error.after, error.before * 1.0001) << error.layer << error.mlp;
    }
  }
}

TEST_F(ReformTest, EverythingWorksInBFloat16) {
  const auto engine = *Engine::Load(WriteTestModel(config_, 41, "reformed"),
                                    {.precision = Precision::kBFloat16, .threads = 2});
  const auto calibration = *engine->Calibrate(tokens_);
  const auto ranking = engine->Rank(*calibration, {.channels = 4, .pairs = 2});
  ASSERT_TRUE(ranking.ok()) << ranking.status();
  const auto dense = *engine->Predict(tokens_);
  const Subnet subnet = RandomTestSubnet(config_, 0.6, false, 3);
  const auto progressive = engine->ReformProgressively(*calibration, subnet, {}, tokens_);
  ASSERT_TRUE(progressive.ok()) << progressive.status();
  const auto losses = engine->Evaluate(
      subnet, tokens_, {.reformed = progressive->weights.get(), .dense = dense.get()});
  ASSERT_TRUE(losses.ok()) << losses.status();
  double sum = 0;
  for (const SequenceLoss& loss : *losses) sum += loss.kl_sum;
  const auto wide = engine_->ReformProgressively(*calibration_, subnet, {}, tokens_);
  ASSERT_TRUE(wide.ok());
  const double expected = Divergence(subnet, wide->weights.get());
  EXPECT_NEAR(sum, expected, 0.05 * expected);
}

TEST_F(ReformTest, ProgressiveLeavesAWholeModelAsItIs) {
  const Subnet subnet = Subnet::Dense(config_);
  const auto progressive = engine_->ReformProgressively(*calibration_, subnet, {}, tokens_);
  ASSERT_TRUE(progressive.ok()) << progressive.status();
  EXPECT_NEAR(Divergence(subnet, progressive->weights.get()), 0,
              1e-4 * static_cast<double>(tokens_.tokens.size()));
}

// Fewer tokens than channels, the same one everywhere: nearly singular everywhere.
TEST_F(ReformTest, HardlyAnyDataGivesFiniteWeights) {
  const TokenSequences same =
      MakeTokenSequences(4, std::vector<int32_t>(8, tokens_.tokens.front()));
  const auto calibration = engine_->Calibrate(same);
  ASSERT_TRUE(calibration.ok()) << calibration.status();
  const auto ranking = engine_->Rank(**calibration, {.channels = 4, .pairs = 1});
  ASSERT_TRUE(ranking.ok()) << ranking.status();
  for (const LayerRanking& layer : ranking->layers) {
    for (const double error : layer.channel_errors) EXPECT_TRUE(std::isfinite(error));
    for (const AttentionCut& cut : layer.attention) EXPECT_TRUE(std::isfinite(cut.error));
  }
  const Subnet subnet = RandomTestSubnet(config_, 0.5, false, 7);
  std::vector<std::string> warnings;
  std::mutex mutex;
  const Control control{.warn = [&](const std::string& text) {
    const std::lock_guard lock(mutex);
    warnings.push_back(text);
  }};
  ASSERT_TRUE(engine_->Reform(**calibration, subnet, {.damping = 1e-15}, control).ok());
  EXPECT_THAT(warnings, ::testing::Contains(::testing::HasSubstr(
                            "layer 0 down_proj: a Gram matrix is nearly singular")));
  const auto progressive = engine_->ReformProgressively(**calibration, subnet, {}, same);
  ASSERT_TRUE(progressive.ok()) << progressive.status();
  EXPECT_TRUE(std::isfinite(Divergence(subnet, progressive->weights.get())));
}

}  // namespace
}  // namespace espalier
