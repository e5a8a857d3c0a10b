#include "coordinator/search/baseline_subnet.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "common/testing/model_shapes.h"
#include "coordinator/search/test_models.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier::search {
namespace {

using ::testing::HasSubstr;

JobSpec BaselineJob(const ModelConfig& config, SearchMethod method, double ratio) {
  JobSpec spec;
  spec.method = method;
  spec.model = "m";
  spec.text.path = "t";
  spec.output = "o";
  spec.ratio = ratio;
  return *ResolveDefaults(spec, config);
}

ModelConfig MultiHead(ModelConfig config) {
  config.num_kv_heads = config.num_heads;
  return config;
}

double Sum(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum;
}

// What is wrong with the subnet's sizes, from their definition; empty when nothing is.
std::string WhyNotABaseline(const Subnet& subnet, const ModelConfig& config, const JobSpec& spec) {
  const absl::Status shape = ValidateSubnet(subnet, config);
  if (!shape.ok()) return shape.ToString();
  const double ratio = ParameterRatio(subnet, config);
  if (ratio > spec.ratio || ratio < spec.ratio - spec.tolerance) return std::to_string(ratio);
  for (const LayerMask& layer : subnet.layers) {
    if (!layer.HasAttention() || !layer.HasMlp()) return "a module is empty";
    for (const Bitmask& group : layer.attention) {
      if (group.Any() && !group.All()) return "a KV group is cut";
    }
    if (layer.mlp.Count() % spec.align_mlp != 0 && !layer.mlp.All()) return "MLP not aligned";
  }
  return "";
}

int64_t KeptGroups(const LayerMask& layer) {
  int64_t kept = 0;
  for (const Bitmask& group : layer.attention) kept += group.Any() ? 1 : 0;
  return kept;
}

class BaselineSubnetTest : public ::testing::TestWithParam<SearchMethod> {};

TEST_P(BaselineSubnetTest, IsLegalAtEveryRatio) {
  for (const ModelConfig& config : {SmallModel(), SmolLm2(), MultiHead(SmolLm2()), Llama70B()}) {
    const bool large = config.num_layers > 60;
    const int64_t seeds = large ? 1 : 3;
    for (const double ratio :
         large ? std::vector{0.7} : std::vector{0.95, 0.9, 0.8, 0.7, 0.6, 0.5}) {
      JobSpec spec = BaselineJob(config, GetParam(), ratio);
      if (config.num_layers == 8) spec.tolerance = 0.05;  // one of its KV groups is 3 %
      for (int64_t seed = 0; seed < seeds; ++seed) {
        const auto subnet = BaselineSubnet(config, spec, RandomScores(config, seed));
        ASSERT_TRUE(subnet.ok()) << subnet.status();
        EXPECT_EQ(WhyNotABaseline(*subnet, config, spec), "") << ratio;
        if (spec.reformation.method != ReformationMethod::kBias) continue;
        const int64_t biases = 2 * config.num_layers * config.hidden_size;
        EXPECT_LE(static_cast<double>(CountParameters(*subnet, config) + biases),
                  ratio * static_cast<double>(DenseParameters(config)));
      }
    }
  }
}

TEST_P(BaselineSubnetTest, KeepsTheBestUnitsOfEveryModule) {
  const ModelConfig config = MultiHead(SmolLm2());
  const UnitScores scores = RandomScores(config, 5);
  const auto subnet = BaselineSubnet(config, BaselineJob(config, GetParam(), 0.6), scores);
  ASSERT_TRUE(subnet.ok()) << subnet.status();
  const auto separates = [](const Bitmask& mask, const std::vector<double>& values) {
    double least_kept = INFINITY;
    double most_gone = -INFINITY;
    for (int64_t i = 0; i < mask.size(); ++i) {
      if (mask.Test(i)) {
        least_kept = std::min(least_kept, values[i]);
      } else {
        most_gone = std::max(most_gone, values[i]);
      }
    }
    return least_kept > most_gone;
  };
  for (int64_t l = 0; l < config.num_layers; ++l) {
    const LayerMask& layer = subnet->layers[l];
    EXPECT_TRUE(separates(layer.mlp, scores.layers[l].mlp)) << l;
    Bitmask groups(config.num_kv_heads);
    std::vector<double> sums;
    for (int64_t g = 0; g < config.num_kv_heads; ++g) {
      groups.Set(g, layer.attention[g].Any());
      sums.push_back(Sum(scores.layers[l].attention[g]));
    }
    EXPECT_TRUE(separates(groups, sums)) << l;
  }
}

TEST_P(BaselineSubnetTest, ErrorsSayWhatToRelax) {
  const ModelConfig config = SmolLm2();
  const UnitScores scores = RandomScores(config, 1);
  JobSpec spec = BaselineJob(config, GetParam(), 0.6);
  spec.ratio = 0.22;
  EXPECT_THAT(std::string(BaselineSubnet(config, spec, scores).status().message()),
              HasSubstr("raise target.ratio"));
  spec.ratio = 0.6;
  spec.tolerance = 1e-7;
  const absl::Status narrow = BaselineSubnet(config, spec, scores).status();
  EXPECT_EQ(narrow.code(), absl::StatusCode::kInvalidArgument);
  const std::string message(narrow.message());
  const std::string wanted = "raise target.tolerance to ";
  const size_t found = message.find(wanted);
  ASSERT_NE(found, std::string::npos) << message;
  spec.tolerance = std::stod(message.substr(found + wanted.size()));
  EXPECT_TRUE(BaselineSubnet(config, spec, scores).ok());
  EXPECT_FALSE(BaselineSubnet(config, spec, RandomScores(SmallModel(), 1)).ok());
}

INSTANTIATE_TEST_SUITE_P(Methods, BaselineSubnetTest,
                         ::testing::Values(SearchMethod::kMagnitude, SearchMethod::kWandaSp,
                                           SearchMethod::kFlap));

TEST(UniformSubnetTest, SizesAreThoseOfEveryLayer) {
  const ModelConfig config = MultiHead(SmolLm2());
  for (const double ratio : {0.9, 0.8, 0.7, 0.6, 0.5}) {
    const JobSpec spec = BaselineJob(config, SearchMethod::kWandaSp, ratio);
    const auto subnet = BaselineSubnet(config, spec, RandomScores(config, 3));
    ASSERT_TRUE(subnet.ok()) << subnet.status();
    const LayerMask& first = subnet->layers.front();
    const LayerMask& last = subnet->layers.back();
    EXPECT_LE(first.mlp.Count() - last.mlp.Count(), spec.align_mlp);
    for (const LayerMask& layer : subnet->layers) {
      EXPECT_EQ(KeptGroups(layer), KeptGroups(first));
      EXPECT_LE(layer.mlp.Count(), first.mlp.Count());
      EXPECT_GE(layer.mlp.Count(), last.mlp.Count());
    }
    // Of nine heads no number is further than half a head from the share.
    const double share = static_cast<double>(last.mlp.Count()) / 1536;
    EXPECT_NEAR(static_cast<double>(KeptGroups(first)) / 9, share, 0.5 / 9 + 0.1) << ratio;
  }
}

// FLAP's rule by its definition: of all thresholds, the lowest whose subnet is not too large.
TEST(FlapSubnetTest, KeepsWhatIsAboveOneThreshold) {
  const ModelConfig config = MultiHead(SmolLm2());
  JobSpec spec = BaselineJob(config, SearchMethod::kFlap, 0.7);
  spec.align_mlp = 1;
  spec.reformation.method = ReformationMethod::kNone;  // no room for biases
  const UnitScores scores = RandomScores(config, 9);
  const auto subnet = BaselineSubnet(config, spec, scores);
  ASSERT_TRUE(subnet.ok()) << subnet.status();

  // A head's score is a sum over its inputs.
  const auto z = [](const std::vector<double>& values, double inputs) {
    const double mean = Sum(values) / static_cast<double>(values.size());
    std::vector<double> centred;
    for (const double value : values) centred.push_back(value / inputs - mean / inputs);
    return centred;
  };
  std::vector<std::vector<double>> heads;
  std::vector<std::vector<double>> channels;
  std::vector<double> all;
  for (const LayerScores& layer : scores.layers) {
    std::vector<double> sums;
    for (const auto& pairs : layer.attention) sums.push_back(Sum(pairs));
    heads.push_back(z(sums, static_cast<double>(config.head_dim)));
    channels.push_back(z(layer.mlp, 1));
    all.insert(all.end(), heads.back().begin(), heads.back().end());
    all.insert(all.end(), channels.back().begin(), channels.back().end());
  }
  const auto above = [&](double threshold) {
    Subnet kept = Subnet::Dense(config);
    for (size_t l = 0; l < heads.size(); ++l) {
      for (int64_t h = 0; h < config.num_heads; ++h) {
        kept.layers[l].attention[h] = Bitmask(config.pairs(), heads[l][h] >= threshold);
      }
      for (int64_t c = 0; c < config.intermediate_size; ++c) {
        kept.layers[l].mlp.Set(c, channels[l][c] >= threshold);
      }
    }
    return kept;
  };
  std::sort(all.begin(), all.end());
  size_t low = 0;
  size_t high = all.size() - 1;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (ParameterRatio(above(all[middle]), config) <= spec.ratio) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  const Subnet expected = above(all[low]);
  EXPECT_GE(CountParameters(*subnet, config), CountParameters(expected, config));
  EXPECT_LE(CountParameters(*subnet, config) - CountParameters(expected, config),
            ParametersPerPair(config) * config.pairs());
  for (size_t l = 0; l < heads.size(); ++l) {
    for (const int64_t channel : expected.layers[l].mlp.Indices()) {
      EXPECT_TRUE(subnet->layers[l].mlp.Test(channel));
    }
    for (int64_t h = 0; h < config.num_heads; ++h) {
      if (expected.layers[l].attention[h].Any()) {
        EXPECT_TRUE(subnet->layers[l].attention[h].All());
      }
    }
  }
}

// A module whose scores are all alike, as a single KV group's are, is at its mean.
TEST(FlapSubnetTest, EqualScoresAreNoObstacle) {
  ModelConfig config = SmolLm2();
  config.num_kv_heads = 1;
  UnitScores scores = RandomScores(config, 2);
  scores.layers[3].mlp.assign(config.intermediate_size, 1.0);
  const JobSpec spec = BaselineJob(config, SearchMethod::kFlap, 0.8);
  const auto subnet = BaselineSubnet(config, spec, scores);
  ASSERT_TRUE(subnet.ok()) << subnet.status();
  EXPECT_EQ(WhyNotABaseline(*subnet, config, spec), "");
}

}  // namespace
}  // namespace espalier::search
