#include "coordinator/search/search.h"
#include "coordinator/search/test_models.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using search::RandomScores;
using search::SmallModel;
using search::TestJob;
using search::WhyIllegal;

TEST(RandomSubnetTest, IsLegalAndHasTheSizesOfTheInitialArchitecture) {
  const ModelConfig config = SmallModel();
  for (double ratio : {0.5, 0.7, 0.9}) {
    const JobSpec spec = TestJob(config, ratio);
    const auto subnet = RandomSubnet(config, spec, 3);
    ASSERT_TRUE(subnet.ok()) << subnet.status();
    EXPECT_EQ(WhyIllegal(*subnet, config, spec), "");
    const auto search = MakePaperSearch(config, spec, RandomScores(config, 1));
    ASSERT_TRUE(search.ok()) << search.status();
    EXPECT_EQ(CountParameters(*subnet, config), CountParameters((*search)->initial(), config));
    for (size_t l = 0; l < subnet->layers.size(); ++l) {
      EXPECT_EQ(subnet->layers[l].mlp.Count(), (*search)->initial().layers[l].mlp.Count());
    }
  }
}

TEST(RandomSubnetTest, FollowsItsSeed) {
  const ModelConfig config = SmallModel();
  const JobSpec spec = TestJob(config, 0.7);
  EXPECT_EQ(*RandomSubnet(config, spec, 3), *RandomSubnet(config, spec, 3));
  EXPECT_NE(*RandomSubnet(config, spec, 3), *RandomSubnet(config, spec, 4));
}

TEST(RandomSubnetTest, EveryChannelIsAsLikely) {
  constexpr int kDraws = 400;
  const ModelConfig config = SmallModel();
  const JobSpec spec = TestJob(config, 0.7);
  std::vector<int> times(config.intermediate_size);
  int64_t kept = 0;
  for (uint64_t seed = 0; seed < kDraws; ++seed) {
    const auto subnet = RandomSubnet(config, spec, seed);
    ASSERT_TRUE(subnet.ok()) << subnet.status();
    kept = subnet->layers[2].mlp.Count();
    for (int64_t channel : subnet->layers[2].mlp.Indices()) ++times[channel];
  }
  const double p = static_cast<double>(kept) / static_cast<double>(times.size());
  double deviation = 0;
  for (int count : times) {
    deviation += (count - p * kDraws) * (count - p * kDraws) / (kDraws * p * (1 - p));
  }
  // Nearly chi-square with 191 degrees of freedom: mean 191, standard deviation 19.5.
  EXPECT_GT(deviation, 191 - 5 * 19.5);
  EXPECT_LT(deviation, 191 + 5 * 19.5);
}

TEST(RandomSubnetTest, RefusesWhatTheSearchRefuses) {
  JobSpec spec = TestJob(SmallModel(), 0.7);
  spec.ratio = 0.01;
  EXPECT_EQ(RandomSubnet(SmallModel(), spec, 1).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace espalier
