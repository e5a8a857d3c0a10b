#include "coordinator/search/unit_order.h"

#include <limits>
#include <string>

#include "coordinator/search/test_models.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier::search {
namespace {

using ::testing::HasSubstr;

TEST(SortUnitsTest, HighestFirstTiesToTheLowerIndex) {
  const UnitScores scores{.layers = {{.attention = {{1, 3, 2}, {0, 0, 5}}, .mlp = {2, 7, 2, 9}}}};
  const std::vector<LayerOrders> orders = SortUnits(scores);
  ASSERT_EQ(orders.size(), 1u);
  EXPECT_EQ(orders[0].attention[0], (UnitOrder{1, 2, 0}));
  EXPECT_EQ(orders[0].attention[1], (UnitOrder{2, 0, 1}));
  EXPECT_EQ(orders[0].mlp, (UnitOrder{3, 1, 0, 2}));
}

TEST(CheckUnitScoresTest, NamesWhatIsWrong) {
  const ModelConfig config = TinyModel();
  const UnitScores good = RandomScores(config, 1);
  EXPECT_TRUE(CheckUnitScores(good, config).ok());
  const auto error = [&](const UnitScores& scores) {
    return std::string(CheckUnitScores(scores, config).message());
  };
  UnitScores bad = good;
  bad.layers.pop_back();
  EXPECT_THAT(error(bad), HasSubstr("2 layers, the model has 3"));
  bad = good;
  bad.layers[1].attention.pop_back();
  EXPECT_THAT(error(bad), HasSubstr("layer 1 have 1 KV groups"));
  bad = good;
  bad.layers[2].attention[1].push_back(1);
  EXPECT_THAT(error(bad), HasSubstr("layer 2, KV group 1 have 5 values"));
  bad = good;
  bad.layers[0].mlp[3] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(error(bad), HasSubstr("layer 0, MLP: unit 3 is nan"));
  bad = good;
  bad.layers[0].mlp[3] = -1;
  EXPECT_THAT(error(bad), HasSubstr("unit 3 is -1"));
}

}  // namespace
}  // namespace espalier::search
