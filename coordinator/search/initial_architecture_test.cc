#include "coordinator/search/initial_architecture.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <memory>
#include <tuple>

#include "common/testing/model_shapes.h"
#include "coordinator/search/test_models.h"
#include "gtest/gtest.h"

namespace espalier::search {
namespace {

Subnet Initial(const ModelConfig& config, const JobSpec& spec, const UnitScores& scores) {
  auto space = SearchSpace::Create(config, spec);
  EXPECT_TRUE(space.ok()) << space.status();
  if (!space.ok()) return {};
  return TopSubnet(**space, SortUnits(scores), InitialLevels(**space, spec.seed));
}

// The mask of `size` units with the largest sum of scores, by trying all masks.
Bitmask BestMask(const std::vector<double>& scores, int64_t size) {
  const auto units = static_cast<int64_t>(scores.size());
  Bitmask best;
  double best_sum = -1;
  for (uint32_t bits = 0; bits < (1u << units); ++bits) {
    Bitmask mask(units);
    double sum = 0;
    for (int64_t i = 0; i < units; ++i) {
      if ((bits >> i & 1) == 0) continue;
      mask.Set(i);
      sum += scores[i];
    }
    if (mask.Count() == size && sum > best_sum) {
      best = mask;
      best_sum = sum;
    }
  }
  return best;
}

Subnet BestSubnet(const ModelConfig& config, const UnitScores& scores, int64_t pairs,
                  int64_t channels, int64_t layers_with_one_more) {
  Subnet subnet;
  for (int64_t l = 0; l < config.num_layers; ++l) {
    LayerMask layer;
    for (const auto& group : scores.layers[l].attention) {
      layer.attention.push_back(BestMask(group, pairs));
    }
    layer.mlp = BestMask(scores.layers[l].mlp, channels + (l < layers_with_one_more ? 1 : 0));
    subnet.layers.push_back(layer);
  }
  return subnet;
}

// Of all legal subnets with equal attentions and MLPs that differ by at most one channel, the one
// whose attention ratio is nearest to the ratio of all modules, and of those the largest.
Subnet BruteForce(const ModelConfig& config, const JobSpec& spec, const UnitScores& scores) {
  const int64_t fixed = CountParameters(
      [&] {
        Subnet empty = Subnet::Dense(config);
        for (LayerMask& layer : empty.layers) {
          layer = {.attention = std::vector<Bitmask>(config.num_kv_heads, Bitmask(config.pairs())),
                   .mlp = Bitmask(config.intermediate_size)};
        }
        return empty;
      }(),
      config);
  const int64_t norms = 2 * config.num_layers * config.hidden_size;
  const auto dense = static_cast<double>(DenseParameters(config));
  const double equal = (std::floor(spec.ratio * dense) - static_cast<double>(fixed + norms)) /
                       (dense - static_cast<double>(fixed + norms));
  Subnet best;
  std::tuple<double, double> best_key{1e9, 0};
  for (int64_t pairs = 1; pairs <= config.pairs(); ++pairs) {
    for (int64_t channels = 1; channels <= config.intermediate_size; ++channels) {
      for (int64_t more = 0; more < config.num_layers; ++more) {
        if (channels == config.intermediate_size && more > 0) continue;
        const Subnet subnet = BestSubnet(config, scores, pairs, channels, more);
        if (!WhyIllegal(subnet, config, spec).empty()) continue;
        const double share = static_cast<double>(pairs) / static_cast<double>(config.pairs());
        const std::tuple<double, double> key{std::abs(share - equal),
                                             -ParameterRatio(subnet, config)};
        if (key < best_key) {
          best = subnet;
          best_key = key;
        }
      }
    }
  }
  return best;
}

TEST(InitialArchitectureTest, EqualsBruteForceOnATinyModel) {
  ModelConfig config = TinyModel();
  config.num_layers = 2;
  config.intermediate_size = 8;
  for (double ratio : {0.5, 0.62, 0.7, 0.83, 0.95}) {
    JobSpec spec = TestJob(config, ratio);
    spec.tolerance = 0.03;
    spec.search.min_layers = 2;
    const UnitScores scores = RandomScores(config, static_cast<uint64_t>(ratio * 100));
    EXPECT_EQ(Initial(config, spec, scores), BruteForce(config, spec, scores)) << ratio;
  }
}

TEST(InitialArchitectureTest, EveryLayerHasNearlyTheSameRatio) {
  const ModelConfig config = SmolLm2();
  const UnitScores scores = RandomScores(config, 1);
  for (double ratio : {0.5, 0.6, 0.7, 0.8, 0.9}) {
    JobSpec spec = TestJob(config, ratio);
    spec.align_mlp = 64;
    spec.align_head_dim = 8;
    const Subnet subnet = Initial(config, spec, scores);
    EXPECT_EQ(WhyIllegal(subnet, config, spec), "");
    int64_t fewest = config.intermediate_size;
    int64_t most = 0;
    for (const LayerMask& layer : subnet.layers) {
      EXPECT_EQ(layer.KeptPairs(), subnet.layers[0].KeptPairs());
      fewest = std::min(fewest, layer.mlp.Count());
      most = std::max(most, layer.mlp.Count());
    }
    EXPECT_LE(most - fewest, 64);
    // The rounding of the attention to 4 of 32 pairs, in MLP channels, and the MLP's own step.
    const double attention = static_cast<double>(subnet.layers[0].KeptPairs()) / (3 * 32);
    const double mlp = static_cast<double>(most) / 1536;
    EXPECT_NEAR(attention, mlp, 0.125) << ratio;
  }
}

TEST(InitialArchitectureTest, DropsDeepLayersButTheLastWhereAllCannotBePresent) {
  const ModelConfig config = SmallModel();
  JobSpec spec = TestJob(config, 0.75);
  spec.search.attention_min_ratio = 0.8;
  spec.search.mlp_min_ratio = 0.9;
  const Subnet subnet = Initial(config, spec, RandomScores(config, 1));
  EXPECT_EQ(WhyIllegal(subnet, config, spec), "");
  for (int l = 0; l < 8; ++l) EXPECT_EQ(subnet.layers[l].HasMlp(), l < 5 || l == 7) << l;
}

// Where no even spread is legal: the only step that is fine enough is an attention's.
TEST(InitialArchitectureTest, PlacesSingleStepsWhereTheWindowIsNarrow) {
  ModelConfig config = SmallModel();
  JobSpec spec = TestJob(config, 0.7);
  spec.align_mlp = 96;
  spec.tolerance = 0.006;
  const Subnet subnet = Initial(config, spec, RandomScores(config, 1));
  EXPECT_EQ(WhyIllegal(subnet, config, spec), "");
  std::map<int64_t, int> pairs;
  for (const LayerMask& layer : subnet.layers) ++pairs[layer.KeptPairs()];
  EXPECT_GT(pairs.size(), 1u);
}

}  // namespace
}  // namespace espalier::search
