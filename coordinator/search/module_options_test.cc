#include "coordinator/search/module_options.h"

#include <cmath>
#include <limits>

#include "common/rng.h"
#include "coordinator/search/test_models.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier::search {
namespace {

using ::testing::HasSubstr;

constexpr CutSteps kSteps = {.channels = 5, .pairs = 2};

ModuleTable MustCreate(const ModelConfig& config, const Ranking& ranking,
                       int64_t step = kSteps.channels) {
  auto table = ModuleTable::Create(config, ranking, step);
  EXPECT_TRUE(table.ok()) << table.status();
  return *std::move(table);
}

// d = 8, 2 groups of 2 queries, 4 pairs, 12 channels: a pair has 96 and a channel 24 parameters.
TEST(ModuleTableTest, OptionsOfATinyModel) {
  const ModuleTable table = MustCreate(TinyModel(), RandomRanking(TinyModel(), kSteps, 1));
  ASSERT_EQ(table.modules(), 6u);
  EXPECT_EQ(table.fixed_parameters(), 168);
  std::vector<int64_t> pairs;
  for (const ModuleOption& option : table.options(2)) pairs.push_back(option.units);
  EXPECT_EQ(pairs, (std::vector<int64_t>{0, 2, 4, 4, 8}));
  EXPECT_EQ(table.options(2)[1].parameters, 2 * 96 + 8);
  EXPECT_LE(table.options(2)[2].error, table.options(2)[3].error);
  std::vector<int64_t> parameters;
  for (const ModuleOption& option : table.options(3)) parameters.push_back(option.parameters);
  EXPECT_EQ(parameters, (std::vector<int64_t>{0, 5 * 24 + 8, 10 * 24 + 8, 12 * 24 + 8}));
  EXPECT_EQ(table.options(2).front().error, 1);
  EXPECT_EQ(table.options(2).back().error, 0);
}

TEST(ModuleTableTest, CutsWithTheSameMasksAreOneOption) {
  Ranking ranking = RandomRanking(TinyModel(), kSteps, 1);
  AttentionCut better = ranking.layers[1].attention[0];
  better.error /= 2;
  const double error = better.error;
  ranking.layers[1].attention.push_back(std::move(better));
  const ModuleTable table = MustCreate(TinyModel(), ranking);
  ASSERT_EQ(table.options(2).size(), 5u);
  EXPECT_EQ(table.options(2)[1].error, error);
}

TEST(ModuleTableTest, AnMlpKeepsTheEndOfTheOrder) {
  const Ranking ranking = RandomRanking(TinyModel(), kSteps, 1);
  const ModuleTable table = MustCreate(TinyModel(), ranking);
  Subnet subnet = Subnet::Dense(TinyModel());
  table.Apply(1, 1, subnet);
  const std::vector<int32_t>& order = ranking.layers[0].channels;
  for (size_t i = 0; i < order.size(); ++i) {
    EXPECT_EQ(subnet.layers[0].mlp.Test(order[i]), i >= 7) << i;
  }
  table.Apply(1, 3, subnet);
  EXPECT_EQ(subnet, Subnet::Dense(TinyModel()));
}

TEST(ModuleTableTest, ParametersAreThoseOfTheSubnet) {
  RandomStream random(3, RandomPurpose::kTest, 0, 0);
  for (int trial = 0; trial < 200; ++trial) {
    ModelConfig config = SmallModel();
    config.num_layers = 1 + static_cast<int64_t>(random.Below(4));
    config.hidden_size = 1 + static_cast<int64_t>(random.Below(50));
    config.num_kv_heads = 1 + static_cast<int64_t>(random.Below(4));
    config.num_heads = config.num_kv_heads * (1 + static_cast<int64_t>(random.Below(4)));
    config.head_dim = 2 + 2 * static_cast<int64_t>(random.Below(9));
    config.intermediate_size = 1 + static_cast<int64_t>(random.Below(99));
    config.tie_word_embeddings = random.Bernoulli(0.5);
    const CutSteps steps{.channels = 1 + static_cast<int64_t>(random.Below(40)),
                         .pairs = 1 + static_cast<int64_t>(random.Below(4))};
    const ModuleTable table =
        MustCreate(config, RandomRanking(config, steps, trial), steps.channels);
    EXPECT_EQ(table.Parameters(table.Dense()), DenseParameters(config));
    EXPECT_EQ(table.Build(table.Dense()), Subnet::Dense(config));
    Allocation allocation;
    for (size_t m = 0; m < table.modules(); ++m) {
      allocation.push_back(static_cast<int32_t>(random.Below(table.options(m).size())));
    }
    const Subnet subnet = table.Build(allocation);
    ASSERT_TRUE(ValidateSubnet(subnet, config).ok());
    ASSERT_EQ(table.Parameters(allocation), CountParameters(subnet, config));
  }
}

TEST(ModuleTableTest, RefusesRankingsOfOtherModels) {
  const ModelConfig config = TinyModel();
  const Ranking good = RandomRanking(config, kSteps, 1);
  const auto problem = [&](const std::function<void(Ranking&)>& damage) {
    Ranking ranking = good;
    damage(ranking);
    const auto status = ModuleTable::Create(config, ranking, kSteps.channels).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(problem([](Ranking& r) { r.layers.pop_back(); }), HasSubstr("2 layers"));
  EXPECT_THAT(problem([](Ranking& r) { r.layers[1].attention[0].masks.pop_back(); }),
              HasSubstr("layer 1 has an attention cut"));
  EXPECT_THAT(problem([](Ranking& r) { r.layers[1].attention[0].masks[0] = Bitmask(5); }),
              HasSubstr("layer 1 has an attention cut"));
  EXPECT_THAT(problem([](Ranking& r) {
                r.layers[1].attention[0].masks = {Bitmask(4), Bitmask(4)};
              }),
              HasSubstr("nothing"));
  EXPECT_THAT(problem([](Ranking& r) { r.layers[2].attention[0].error = -1; }), HasSubstr("-1"));
  EXPECT_THAT(problem([](Ranking& r) { r.layers[2].channels[0] = r.layers[2].channels[1]; }),
              HasSubstr("no permutation"));
  EXPECT_THAT(problem([](Ranking& r) { r.layers[2].channels.push_back(0); }),
              HasSubstr("no permutation"));
  EXPECT_THAT(problem([](Ranking& r) { r.layers[2].channel_errors.pop_back(); }),
              HasSubstr("12 channels in steps of 5 have 3"));
  EXPECT_THAT(problem([](Ranking& r) {
                r.layers[0].channel_errors[1] = std::numeric_limits<double>::infinity();
              }),
              HasSubstr("layer 0 has the error inf"));
  EXPECT_FALSE(ModuleTable::Create(config, good, 0).ok());
}

}  // namespace
}  // namespace espalier::search
