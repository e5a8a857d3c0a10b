#include "common/subnet.h"

#include <filesystem>

#include "common/file.h"
#include "common/testing/model_shapes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace espalier {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// 2 layers, 4 query heads in 2 groups of 4 dims (2 pairs), so r = 2.
ModelConfig SmallConfig() {
  return {.num_layers = 2,
          .hidden_size = 10,
          .num_heads = 4,
          .num_kv_heads = 2,
          .head_dim = 4,
          .intermediate_size = 12,
          .vocab_size = 7};
}

TEST(SubnetTest, DenseHasTheModelsShapeAndAllBits) {
  const ModelConfig config = SmallConfig();
  const Subnet dense = Subnet::Dense(config);
  EXPECT_TRUE(ValidateSubnet(dense, config).ok());
  ASSERT_EQ(dense.layers.size(), 2);
  EXPECT_EQ(dense.layers[0].KeptPairs(), 4);
  EXPECT_TRUE(dense.layers[1].mlp.All());
  EXPECT_EQ(ParameterRatio(dense, config), 1);
}

TEST(SubnetTest, CountsByHand) {
  ModelConfig config = SmallConfig();
  // Per layer: q 16x10, k and v 8x10, o 10x16, gate and up 12x10, down 10x12, two norms of 10.
  const int64_t layer = 160 + 80 + 80 + 160 + 3 * 120 + 20;
  EXPECT_EQ(DenseParameters(config), 2 * 70 + 10 + 2 * layer);
  config.tie_word_embeddings = true;
  EXPECT_EQ(DenseParameters(config), 70 + 10 + 2 * layer);

  Subnet subnet = Subnet::Dense(config);
  subnet.layers[0].attention[1].Set(0, false);
  // Two rows of k, two of v, two of each of two query heads, four columns of o: 12 vectors of d.
  EXPECT_EQ(CountParameters(subnet, config), 70 + 10 + 2 * layer - 12 * 10);
  EXPECT_EQ(ParametersPerPair(config), 12 * 10);
  subnet.layers[0].mlp.Set(5, false);
  EXPECT_EQ(CountParameters(subnet, config), 70 + 10 + 2 * layer - 12 * 10 - 30);
  EXPECT_EQ(ParametersPerChannel(config), 30);
}

// The largest model that a config.json may describe: its masks would take gigabytes.
TEST(SubnetTest, DenseParametersTakeNoMasks) {
  const ModelConfig largest{.num_layers = 1 << 12,
                            .hidden_size = 1 << 20,
                            .num_heads = 1 << 16,
                            .num_kv_heads = 1 << 16,
                            .head_dim = 1 << 8,
                            .intermediate_size = 1 << 22,
                            .vocab_size = 1 << 26};
  // q, k, v, o of 2^24 x 2^20 each; gate, up, down of 2^22 x 2^20; two norms.
  constexpr int64_t kLayer = (int64_t{4} << 44) + (int64_t{3} << 42) + (int64_t{2} << 20);
  EXPECT_EQ(DenseParameters(largest), (int64_t{2} << 46) + (int64_t{1} << 20) + (kLayer << 12));
}

TEST(SubnetTest, DenseParametersAreThoseOfTheDenseSubnet) {
  ModelConfig config = SmallConfig();
  for (const bool tied : {false, true}) {
    config.tie_word_embeddings = tied;
    EXPECT_EQ(DenseParameters(config), CountParameters(Subnet::Dense(config), config));
  }
}

TEST(SubnetTest, NormsGoWithTheirModules) {
  const ModelConfig config = SmallConfig();
  Subnet subnet = Subnet::Dense(config);
  subnet.layers[0].mlp = Bitmask(12);
  EXPECT_EQ(CountParameters(subnet, config), DenseParameters(config) - 360 - 10);
  subnet.layers[0].attention = {Bitmask(2), Bitmask(2)};
  EXPECT_FALSE(subnet.layers[0].HasAttention());
  EXPECT_EQ(CountParameters(subnet, config), DenseParameters(config) - 860);
}

TEST(SubnetTest, ValidateNamesLayerAndMask) {
  const ModelConfig config = SmallConfig();
  Subnet subnet = Subnet::Dense(config);
  subnet.layers[1].attention[1] = Bitmask(3);
  EXPECT_EQ(ValidateSubnet(subnet, config),
            absl::InvalidArgumentError("layer 1: attention mask of KV group 1 has 3 bits, the "
                                       "model needs 2"));
  subnet = Subnet::Dense(config);
  subnet.layers[0].mlp = Bitmask(11);
  EXPECT_EQ(ValidateSubnet(subnet, config),
            absl::InvalidArgumentError("layer 0: MLP mask has 11 bits, the model needs 12"));
  subnet = Subnet::Dense(config);
  subnet.layers[0].attention.pop_back();
  EXPECT_EQ(ValidateSubnet(subnet, config),
            absl::InvalidArgumentError("layer 0 has 1 attention masks, the model needs 2"));
  subnet.layers.pop_back();
  EXPECT_EQ(ValidateSubnet(subnet, config),
            absl::InvalidArgumentError("the subnet has 1 layers, the model needs 2"));
}

TEST(SubnetTest, FingerprintSeesEveryBitAndSize) {
  const ModelConfig config = SmallConfig();
  const Subnet dense = Subnet::Dense(config);
  EXPECT_EQ(Fingerprint(dense), Fingerprint(Subnet::Dense(config)));
  EXPECT_EQ(Fingerprint(dense).size(), 64);
  Subnet other = dense;
  other.layers[1].mlp.Set(11, false);
  EXPECT_NE(Fingerprint(dense), Fingerprint(other));
  other = dense;
  other.layers[0].attention[0] = Bitmask::FromIndices(3, {0, 1});  // the same byte
  EXPECT_NE(Fingerprint(dense), Fingerprint(other));
}

TEST(SubnetTest, JsonRoundTrip) {
  const ModelConfig config = SmallConfig();
  Subnet subnet = Subnet::Dense(config);
  subnet.layers[0].attention[0] = Bitmask::FromIndices(2, {1});
  subnet.layers[1].mlp = Bitmask::FromIndices(12, {0, 11});
  const std::string json = MasksToJson(subnet);
  EXPECT_THAT(json, HasSubstr(R"({"attn": ["02", "03"], "mlp": "ff0f"})"));
  const auto read = SubnetFromJson(json, config, "masks.json");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, subnet);
}

struct BadJson {
  const char* json;
  const char* message;
};

class SubnetBadJsonTest : public ::testing::TestWithParam<BadJson> {};

TEST_P(SubnetBadJsonTest, IsRefusedByName) {
  const auto read = SubnetFromJson(GetParam().json, SmallConfig(), "m.json");
  EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(read.status().message(), AllOf(HasSubstr("m.json: "), HasSubstr(GetParam().message)));
}

INSTANTIATE_TEST_SUITE_P(
    All, SubnetBadJsonTest,
    ::testing::Values(
        BadJson{"{", "not valid JSON"}, BadJson{"[]", "no array \"masks\""},
        BadJson{R"({"masks": 3})", "no array \"masks\""},
        BadJson{R"({"masks": []})", "\"masks\" has 0 elements, the model needs 2"},
        BadJson{R"({"masks": [1, 2]})", "layer 0: has no array \"attn\""},
        BadJson{R"({"masks": [{"attn": ["03"], "mlp": "ff0f"}, {}]})",
                "layer 0: \"attn\" has 1 elements, the model needs 2"},
        BadJson{R"({"masks": [{"attn": ["03", "0300"], "mlp": "ff0f"}, {}]})",
                "layer 0: attention mask of KV group 1: a mask of 2 bits takes 2 hexadecimal"},
        BadJson{R"({"masks": [{"attn": ["03", "04"], "mlp": "ff0f"}, {}]})",
                "layer 0: attention mask of KV group 1: a bit beyond the mask's 2 bits"},
        BadJson{R"({"masks": [{"attn": [3, "03"], "mlp": "ff0f"}, {}]})",
                "layer 0: attention mask of KV group 0: must be a string of 2 hexadecimal"},
        BadJson{R"({"masks": [{"attn": ["03", "03"]}, {}]})", "layer 0: has no mask \"mlp\""},
        BadJson{R"({"masks": [{"attn": ["03", "03"], "mlp": "ff0g"}, {}]})",
                "layer 0: MLP mask: character 4"},
        BadJson{R"({"masks": [{"attn": ["03", "03"], "mlp": "ff0f"}, {}]})",
                "layer 1: has no array \"attn\""}));

TEST(SubnetTest, ReadSubnetNamesAMissingFile) {
  const auto read = ReadSubnet(std::string(::testing::TempDir()) + "/none.json", SmallConfig());
  EXPECT_EQ(read.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(read.status().message(), HasSubstr("none.json"));
}

// Parameter counts of SmolLM2-135M and of masked subnets of it, counted by an independent
// implementation.
TEST(SubnetTest, CountsOfTheGoldenSubnets) {
  const std::filesystem::path golden = "../shared/goldens/smollm2.json";
  if (!std::filesystem::exists(golden)) GTEST_SKIP() << golden << " is not there";
  const ModelConfig config = SmolLm2();
  EXPECT_EQ(DenseParameters(config), 134515008);
  const auto text = ReadFile(golden);
  ASSERT_TRUE(text.ok()) << text.status();
  const nlohmann::json root = nlohmann::json::parse(*text);
  int masked = 0;
  for (const auto& golden_case : root["cases"]) {
    if (!golden_case.contains("masks")) continue;
    const auto subnet = SubnetFromJson(golden_case.dump(), config, golden.string());
    ASSERT_TRUE(subnet.ok()) << subnet.status();
    EXPECT_EQ(CountParameters(*subnet, config), golden_case["parameters"].get<int64_t>());
    ++masked;
  }
  EXPECT_EQ(masked, 2);
}

}  // namespace
}  // namespace espalier
