#include "coordinator/search/neighbour.h"

#include <memory>
#include <set>
#include <string>

#include "coordinator/search/initial_architecture.h"
#include "coordinator/search/test_models.h"
#include "gtest/gtest.h"

namespace espalier::search {
namespace {

// Every neighbour that is found before there is none left, the start not among them.
std::vector<Subnet> AllNeighbours(const SearchSpace& space, const std::vector<LayerOrders>& orders,
                                  const Subnet& start, int64_t* asked) {
  std::set<std::string> seen = {Fingerprint(start)};
  std::vector<Subnet> found;
  const auto is_new = [&](const Subnet& subnet) {
    ++*asked;
    return !seen.contains(Fingerprint(subnet));
  };
  RandomStream random(1, RandomPurpose::kTest, 0, 0);
  while (std::optional<Subnet> next = NewNeighbour(space, orders, start, is_new, random)) {
    EXPECT_TRUE(seen.insert(Fingerprint(*next)).second);
    found.push_back(*next);
  }
  return found;
}

TEST(NewNeighbourTest, FindsEveryExchangeOfOneUnitAndIsLegal) {
  const ModelConfig config = TinyModel();
  const JobSpec spec = TestJob(config, 0.75);
  const auto space = SearchSpace::Create(config, spec);
  ASSERT_TRUE(space.ok()) << space.status();
  const std::vector<LayerOrders> orders = SortUnits(RandomScores(config, 1));
  const Subnet start = TopSubnet(**space, orders, InitialLevels(**space, 1));
  int64_t expected = 0;
  for (const LayerMask& layer : start.layers) {
    for (const Bitmask& mask : MasksOf(layer)) {
      expected += mask.Count() * (mask.size() - mask.Count());
    }
  }
  int64_t asked = 0;
  const std::vector<Subnet> found = AllNeighbours(**space, orders, start, &asked);
  EXPECT_EQ(static_cast<int64_t>(found.size()), expected);
  for (const Subnet& subnet : found) EXPECT_EQ(WhyIllegal(subnet, config, spec), "");
}

TEST(NewNeighbourTest, MovesWholeLayersWhenNothingElseCanChange) {
  const ModelConfig config = SmallModel();
  JobSpec spec = TestJob(config, 0.8);
  spec.tolerance = 0.13;
  spec.search.attention_min_ratio = 1;
  spec.search.mlp_min_ratio = 1;
  const auto space = SearchSpace::Create(config, spec);
  ASSERT_TRUE(space.ok()) << space.status();
  const std::vector<LayerOrders> orders = SortUnits(RandomScores(config, 1));
  const Subnet start = TopSubnet(**space, orders, InitialLevels(**space, 1));
  int64_t asked = 0;
  const std::vector<Subnet> found = AllNeighbours(**space, orders, start, &asked);
  EXPECT_EQ(found.size(), 6u * 2u);
  for (const Subnet& subnet : found) EXPECT_EQ(WhyIllegal(subnet, config, spec), "");
}

TEST(NewNeighbourTest, AsksOnceWhenNothingWasSeen) {
  const ModelConfig config = SmallModel();
  const auto space = SearchSpace::Create(config, TestJob(config, 0.7));
  ASSERT_TRUE(space.ok()) << space.status();
  const std::vector<LayerOrders> orders = SortUnits(RandomScores(config, 1));
  const Subnet start = TopSubnet(**space, orders, InitialLevels(**space, 1));
  RandomStream random(1, RandomPurpose::kTest, 0, 0);
  int asked = 0;
  const auto first = NewNeighbour(
      **space, orders, start, [&](const Subnet&) { return ++asked > 0; }, random);
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(asked, 1);
}

}  // namespace
}  // namespace espalier::search
