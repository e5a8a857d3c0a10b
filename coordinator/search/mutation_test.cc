#include "coordinator/search/mutation.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <set>

#include "coordinator/search/initial_architecture.h"
#include "coordinator/search/test_models.h"
#include "coordinator/search/unit_choice.h"
#include "gtest/gtest.h"

namespace espalier::search {
namespace {

class MutationTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto space = SearchSpace::Create(config_, spec_);
    ASSERT_TRUE(space.ok()) << space.status();
    space_ = *std::move(space);
    orders_ = SortUnits(RandomScores(config_, 1));
    parent_ = TopSubnet(*space_, orders_, InitialLevels(*space_, 1));
  }

  Subnet Draw(const Subnet& parent, const MutationSpec& mutation, uint32_t slot,
              double overlap = 0.8, bool whole_space = true) const {
    RandomStream random(9, RandomPurpose::kTest, 0, slot);
    return Mutate(*space_, orders_, parent,
                  {.probabilities = mutation, .overlap = overlap, .whole_space = whole_space},
                  random);
  }

  const ModelConfig config_ = SmallModel();
  const JobSpec spec_ = TestJob(config_, 0.7);
  std::unique_ptr<const SearchSpace> space_;
  std::vector<LayerOrders> orders_;
  Subnet parent_;
};

TEST_F(MutationTest, NothingChangesWithoutProbability) {
  EXPECT_EQ(Draw(parent_, {.mask = 0, .ratio = 0, .depth = 0}, 0), parent_);
}

TEST_F(MutationTest, ChainsStayLegal) {
  Subnet subnet = parent_;
  for (uint32_t slot = 0; slot < 300; ++slot) {
    subnet = Draw(subnet, {.mask = 0.5, .ratio = 0.3, .depth = 0.3}, slot, 0.8, slot % 2 == 0);
    ASSERT_EQ(WhyIllegal(subnet, config_, spec_), "") << slot;
  }
}

TEST_F(MutationTest, KeepsTheShareOfEveryMaskWhateverItsSizeDoes) {
  for (double overlap : {0.0, 0.5, 0.8, 1.0}) {
    Subnet subnet = parent_;
    for (uint32_t slot = 0; slot < 100; ++slot) {
      const Subnet child = Draw(subnet, {.mask = 0.7, .ratio = 0.4, .depth = 0}, slot, overlap);
      for (size_t l = 0; l < child.layers.size(); ++l) {
        const std::vector<Bitmask> before = MasksOf(subnet.layers[l]);
        const std::vector<Bitmask> after = MasksOf(child.layers[l]);
        for (size_t m = 0; m < after.size(); ++m) {
          const int64_t smaller = std::min(before[m].Count(), after[m].Count());
          ASSERT_GE(static_cast<double>(Shared(before[m], after[m])),
                    overlap * static_cast<double>(smaller) - 1e-9);
        }
      }
      subnet = child;
    }
  }
}

TEST_F(MutationTest, RedrawsTheGivenShareOfMasksAndNoSizes) {
  int64_t redrawn = 0;
  int64_t masks = 0;
  for (uint32_t slot = 0; slot < 200; ++slot) {
    const Subnet child = Draw(parent_, {.mask = 0.3, .ratio = 0, .depth = 0}, slot);
    for (size_t l = 0; l < child.layers.size(); ++l) {
      const std::vector<Bitmask> before = MasksOf(parent_.layers[l]);
      const std::vector<Bitmask> after = MasksOf(child.layers[l]);
      for (size_t m = 0; m < after.size(); ++m) {
        ASSERT_EQ(before[m].Count(), after[m].Count());
        redrawn += before[m] != after[m] ? 1 : 0;
        ++masks;
      }
    }
  }
  // Binomial, n = 4800, p = 0.3: standard deviation 0.0066.
  EXPECT_NEAR(static_cast<double>(redrawn) / static_cast<double>(masks), 0.3, 0.03);
}

TEST_F(MutationTest, StepsHaveEveryLength) {
  std::set<int64_t> exchanged;
  for (uint32_t slot = 0; slot < 200; ++slot) {
    const Subnet child = Draw(parent_, {.mask = 1, .ratio = 0, .depth = 0}, slot);
    exchanged.insert(parent_.layers[0].mlp.Count() -
                     Shared(parent_.layers[0].mlp, child.layers[0].mlp));
  }
  const int64_t kept = parent_.layers[0].mlp.Count();
  const int64_t most = MostExchanged(192, kept, kept, 0.8);
  EXPECT_EQ(*exchanged.begin(), 1);
  EXPECT_LE(*exchanged.rbegin(), most);
  EXPECT_GT(*exchanged.rbegin(), most * 3 / 4);
}

// How far the attention sizes move on average, in pairs.
TEST_F(MutationTest, RatiosMoveLessWhenNotDrawnFromTheWholeSpace) {
  const auto distance = [&](bool whole_space) {
    int64_t sum = 0;
    for (uint32_t slot = 0; slot < 200; ++slot) {
      const Subnet child =
          Draw(parent_, {.mask = 0, .ratio = 0.3, .depth = 0}, slot, 0.8, whole_space);
      for (size_t l = 0; l < child.layers.size(); ++l) {
        sum += std::abs(child.layers[l].KeptPairs() - parent_.layers[l].KeptPairs());
      }
    }
    return sum;
  };
  EXPECT_GT(distance(false), 0);
  EXPECT_LT(4 * distance(false), 3 * distance(true));
}

TEST_F(MutationTest, DepthDropsRestoresAndMovesLayersWithinTheMinimum) {
  std::set<int64_t> counts;
  bool moved = false;
  Subnet subnet = parent_;
  for (uint32_t slot = 0; slot < 200; ++slot) {
    const Subnet child = Draw(subnet, {.mask = 0, .ratio = 0, .depth = 1}, slot);
    const Levels before = space_->LevelsOf(subnet);
    const Levels after = space_->LevelsOf(child);
    ASSERT_LE(std::abs(PresentLayers(before) - PresentLayers(after)), 1);
    counts.insert(PresentLayers(after));
    moved |= PresentLayers(before) == PresentLayers(after) &&
             LayersWhere(before, true) != LayersWhere(after, true);
    subnet = child;
  }
  EXPECT_EQ(counts, (std::set<int64_t>{6, 7, 8}));
  EXPECT_TRUE(moved);
}

TEST_F(MutationTest, SameStreamSameChild) {
  const MutationSpec mutation{.mask = 0.5, .ratio = 0.3, .depth = 0.3};
  EXPECT_EQ(Draw(parent_, mutation, 3), Draw(parent_, mutation, 3));
  EXPECT_NE(Draw(parent_, mutation, 3), Draw(parent_, mutation, 4));
}

}  // namespace
}  // namespace espalier::search
