#include "coordinator/search/repair.h"

#include <memory>
#include <set>

#include "common/testing/model_shapes.h"
#include "coordinator/search/test_models.h"
#include "gtest/gtest.h"

namespace espalier::search {
namespace {

std::unique_ptr<const SearchSpace> Space(const ModelConfig& config, const JobSpec& spec) {
  auto space = SearchSpace::Create(config, spec);
  return space.ok() ? *std::move(space) : nullptr;
}

int Draw(int top, RandomStream& random) { return static_cast<int>(random.Below(top + 1)); }

// Any sizes, of as many layers as can be legal.
Levels RandomLevels(const SearchSpace& space, RandomStream& random) {
  Levels levels(space.num_layers());
  int64_t count = 0;
  for (LayerLevels& layer : levels) {
    if (count++ >= space.MostLayers()) break;
    layer = {.attention = Draw(space.attention().top_level(), random),
             .mlp = Draw(space.mlp().top_level(), random)};
  }
  return levels;
}

TEST(RepairLevelsTest, LegalSizesStay) {
  const JobSpec spec = TestJob(SmallModel(), 0.7);
  const auto space = Space(SmallModel(), spec);
  ASSERT_NE(space, nullptr);
  RandomStream random(1, RandomPurpose::kTest, 0, 0);
  Levels levels = RandomLevels(*space, random);
  RepairLevels(*space, random, &levels);
  const Levels repaired = levels;
  RepairLevels(*space, random, &levels);
  EXPECT_EQ(levels, repaired);
}

// Narrow windows, coarse steps, sizes that are no multiples, minima: all that needs the exact plan.
TEST(RepairLevelsTest, ReachesEveryWindowThatCanBeReached) {
  RandomStream random(2, RandomPurpose::kTest, 0, 0);
  int repaired = 0;
  for (int trial = 0; trial < 400; ++trial) {
    ModelConfig config = SmallModel();
    config.num_layers = 1 + static_cast<int64_t>(random.Below(8));
    config.intermediate_size = 20 + static_cast<int64_t>(random.Below(200));
    config.head_dim = 2 + 2 * static_cast<int64_t>(random.Below(12));
    JobSpec spec = TestJob(config, 0.3 + 0.7 * random.Uniform());
    spec.tolerance = 0.01 * random.Uniform();
    spec.align_mlp = 1 + static_cast<int64_t>(random.Below(32));
    spec.align_head_dim = 1 + static_cast<int64_t>(random.Below(8));
    spec.search.attention_min_ratio = 0.9 * random.Uniform();
    const auto space = Space(config, spec);
    if (space == nullptr) continue;
    ++repaired;
    for (int start = 0; start < 5; ++start) {
      Levels levels = RandomLevels(*space, random);
      const int64_t present = PresentLayers(levels);
      RepairLevels(*space, random, &levels);
      ASSERT_TRUE(space->range().Contains(space->Parameters(levels)));
      ASSERT_EQ(PresentLayers(levels), present);
      for (const LayerLevels& layer : levels) {
        if (!layer.present()) continue;
        ASSERT_TRUE(layer.attention >= 0 && layer.attention <= space->attention().top_level());
        ASSERT_TRUE(layer.mlp >= 0 && layer.mlp <= space->mlp().top_level());
      }
    }
  }
  EXPECT_GT(repaired, 150);
}

TEST(RepairLevelsTest, SpreadsTheChangeOverModules) {
  const ModelConfig config = SmolLm2();
  const auto space = Space(config, TestJob(config, 0.8));
  ASSERT_NE(space, nullptr);
  const Levels dense(
      30, {.attention = space->attention().top_level(), .mlp = space->mlp().top_level()});
  Levels levels = dense;
  RandomStream random(3, RandomPurpose::kTest, 0, 0);
  RepairLevels(*space, random, &levels);
  for (size_t l = 0; l < levels.size(); ++l) {
    EXPECT_LT(levels[l].mlp, dense[l].mlp);
    EXPECT_GT(levels[l].mlp, dense[l].mlp / 2);
  }
}

TEST(RepairLevelsTest, DiffersByStream) {
  const ModelConfig config = SmallModel();
  const auto space = Space(config, TestJob(config, 0.7));
  ASSERT_NE(space, nullptr);
  std::set<int64_t> first_sizes;
  for (uint32_t slot = 0; slot < 20; ++slot) {
    Levels levels(8, {.attention = space->attention().top_level(), .mlp = 100});
    RandomStream random(4, RandomPurpose::kTest, 0, slot);
    RepairLevels(*space, random, &levels);
    first_sizes.insert(levels[0].mlp);
  }
  EXPECT_GT(first_sizes.size(), 5u);
}

}  // namespace
}  // namespace espalier::search
