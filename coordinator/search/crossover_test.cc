#include "coordinator/search/crossover.h"

#include <memory>

#include "coordinator/search/initial_architecture.h"
#include "coordinator/search/mutation.h"
#include "coordinator/search/test_models.h"
#include "gtest/gtest.h"

namespace espalier::search {
namespace {

struct Setting {
  ModelConfig config;
  JobSpec spec;
  std::unique_ptr<const SearchSpace> space;
  std::vector<LayerOrders> orders;
  Subnet initial;
};

Setting MakeSetting(const ModelConfig& config, const JobSpec& spec) {
  Setting s{.config = config, .spec = spec, .space = nullptr, .orders = {}, .initial = {}};
  auto space = SearchSpace::Create(config, spec);
  EXPECT_TRUE(space.ok()) << space.status();
  s.space = *std::move(space);
  s.orders = SortUnits(RandomScores(config, 1));
  s.initial = TopSubnet(*s.space, s.orders, InitialLevels(*s.space, 1));
  return s;
}

Subnet Descendant(const Setting& s, const MutationSpec& mutation, uint32_t slot, int steps) {
  RandomStream random(1, RandomPurpose::kTest, 0, slot);
  Subnet subnet = s.initial;
  for (int i = 0; i < steps; ++i) {
    subnet =
        Mutate(*s.space, s.orders, subnet, {.probabilities = mutation, .overlap = 0.5}, random);
  }
  return subnet;
}

Subnet Cross(const Setting& s, const Subnet& a, const Subnet& b, uint32_t slot) {
  RandomStream random(2, RandomPurpose::kTest, 0, slot);
  return Crossover(*s.space, s.orders, a, b, random);
}

TEST(CrossoverTest, EqualSizesTakeEveryLayerFromOneParent) {
  const Setting s = MakeSetting(SmallModel(), TestJob(SmallModel(), 0.7));
  const MutationSpec masks_only{.mask = 1, .ratio = 0, .depth = 0};
  const Subnet a = Descendant(s, masks_only, 0, 1);
  const Subnet b = Descendant(s, masks_only, 1, 1);
  int from_a = 0;
  for (uint32_t slot = 0; slot < 100; ++slot) {
    const Subnet child = Cross(s, a, b, slot);
    for (size_t l = 0; l < child.layers.size(); ++l) {
      const bool is_a = child.layers[l] == a.layers[l];
      ASSERT_TRUE(is_a || child.layers[l] == b.layers[l]);
      from_a += is_a ? 1 : 0;
    }
  }
  EXPECT_NEAR(from_a / 800.0, 0.5, 0.06);  // standard deviation 0.018
}

TEST(CrossoverTest, IsLegalForParentsOfAnySizesAndDepths) {
  const Setting s = MakeSetting(SmallModel(), TestJob(SmallModel(), 0.7));
  const MutationSpec everything{.mask = 0.5, .ratio = 0.5, .depth = 0.5};
  for (uint32_t slot = 0; slot < 200; ++slot) {
    const Subnet a = Descendant(s, everything, 2 * slot, 4);
    const Subnet b = Descendant(s, everything, 2 * slot + 1, 4);
    ASSERT_EQ(WhyIllegal(Cross(s, a, b, slot), s.config, s.spec), "") << slot;
  }
}

// Only six whole layers are legal: a mixture of parents that dropped different layers is not, until
// it is repaired.
TEST(CrossoverTest, RepairsTheDepthFromTheParentsOwnLayers) {
  JobSpec spec = TestJob(SmallModel(), 0.75);
  spec.tolerance = 0.02;
  spec.search.attention_min_ratio = 1;
  spec.search.mlp_min_ratio = 0.95;
  const Setting s = MakeSetting(SmallModel(), spec);
  const MutationSpec depth_only{.mask = 0, .ratio = 0, .depth = 1};
  bool differ = false;
  for (uint32_t slot = 0; slot < 100; ++slot) {
    const Subnet a = Descendant(s, depth_only, 2 * slot, 4);
    const Subnet b = Descendant(s, depth_only, 2 * slot + 1, 4);
    const Subnet child = Cross(s, a, b, slot);
    ASSERT_EQ(WhyIllegal(child, s.config, s.spec), "") << slot;
    differ |= LayersWhere(s.space->LevelsOf(a), true) != LayersWhere(s.space->LevelsOf(b), true);
    for (size_t l = 0; l < child.layers.size(); ++l) {
      if (child.layers[l].HasMlp()) {
        ASSERT_TRUE(a.layers[l].HasMlp() || b.layers[l].HasMlp());
      }
    }
  }
  EXPECT_TRUE(differ);
}

}  // namespace
}  // namespace espalier::search
