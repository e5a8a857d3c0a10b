// Tests of the part of model_folder.h that writes.
#include "absl/strings/str_cat.h"
#include "common/file.h"
#include "common/model_folder.h"
#include "common/model_folder_test_util.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

using ::testing::HasSubstr;

TEST(ConfigJsonTest, CompactConfigKeepsUnknownKeys) {
  const auto text =
      CompactConfigJson(SmallConfigJson().dump(), SmallConfig(), SmallMasks(), DType::kBFloat16);
  ASSERT_TRUE(text.ok()) << text.status();
  const nlohmann::json config = nlohmann::json::parse(*text);
  EXPECT_EQ(config["model_type"], "espalier_compact");
  EXPECT_EQ(config["architectures"], nlohmann::json::array({"EspalierCompactForCausalLM"}));
  EXPECT_EQ(config["bos_token_id"], 3);
  EXPECT_EQ(config["torch_dtype"], "bfloat16");
  EXPECT_EQ(config["dtype"], "bfloat16");
  EXPECT_EQ(config["masks"].size(), 3);
  EXPECT_EQ(config["masks"][0]["attn"], nlohmann::json::array({"05", "00"}));
  EXPECT_EQ(config["masks"][0]["mlp"], "0602");
}

TEST(ConfigJsonTest, PaddedConfigIsAnOrdinaryLlama) {
  const auto compact =
      CompactConfigJson(SmallConfigJson().dump(), SmallConfig(), SmallMasks(), DType::kFloat16);
  ASSERT_TRUE(compact.ok()) << compact.status();
  const auto text = PaddedConfigJson(*compact, SmallConfig(), DType::kFloat16);
  ASSERT_TRUE(text.ok()) << text.status();
  const auto parsed = ParseModelConfig(*text, "padded");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(*parsed, SmallConfig());
  const nlohmann::json config = nlohmann::json::parse(*text);
  EXPECT_EQ(config["architectures"], nlohmann::json::array({"LlamaForCausalLM"}));
  EXPECT_EQ(config["bos_token_id"], 3);
  EXPECT_EQ(config["dtype"], "float16");
  EXPECT_FALSE(config.contains("masks"));
}

// Whichever spelling the original had, both kinds of reader must see the same frequencies.
TEST(ConfigJsonTest, RopeIsWrittenInBothSpellings) {
  nlohmann::json original = SmallConfigJson();
  original.erase("rope_theta");
  original["rope_parameters"] = {{"rope_type", "llama3"}, {"rope_theta", 1234},
                                 {"factor", 2},           {"low_freq_factor", 1},
                                 {"high_freq_factor", 3}, {"original_max_position_embeddings", 32}};
  const auto dense = ParseModelConfig(original.dump(), "dense");
  ASSERT_TRUE(dense.ok()) << dense.status();
  const auto text = PaddedConfigJson(original.dump(), *dense, DType::kFloat32);
  ASSERT_TRUE(text.ok()) << text.status();
  for (const char* removed : {"", "rope_parameters", "rope_scaling"}) {
    nlohmann::json config = nlohmann::json::parse(*text);
    config.erase(removed);
    const auto read = ParseModelConfig(config.dump(), "padded");
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, *dense) << "without " << removed;
  }
}

TEST(ConfigJsonTest, RefusesWhatIsNotAConfig) {
  EXPECT_EQ(PaddedConfigJson("[", SmallConfig(), DType::kFloat32).status().code(),
            absl::StatusCode::kInvalidArgument);
  Subnet masks = SmallMasks();
  masks.layers.pop_back();
  EXPECT_THAT(CompactConfigJson("{}", SmallConfig(), masks, DType::kFloat32).status().message(),
              HasSubstr("3"));
}

class WritePaddedTest : public ::testing::TestWithParam<DType> {
 protected:
  WritePaddedTest() : root_(fs::path(::testing::TempDir()) / "write_padded_test") {
    fs::remove_all(root_);
    fs::create_directories(root_ / "compact");
  }
  ~WritePaddedTest() override { fs::remove_all(root_); }

  void WriteCompact(const Subnet& masks, bool tied) {
    const auto config =
        CompactConfigJson(SmallConfigJson(tied).dump(), SmallConfig(tied), masks, GetParam());
    ASSERT_TRUE(config.ok()) << config.status();
    WriteText(root_ / "compact" / "config.json", *config);
    WriteText(root_ / "compact" / "tokenizer.json", "tokens");
    WriteTensors(root_ / "compact" / "model.safetensors", SmallTensors(masks, GetParam(), tied));
  }

  // Every element of the padded copy is the dense one's if kept, else zero.
  void ExpectMasked(const ModelFolder& padded, const Subnet& masks, bool tied) {
    const int64_t item = ItemSize(GetParam());
    for (const auto& [name, shape] : SmallShapes(tied)) {
      const auto view = padded.tensors->Get(name, shape);
      ASSERT_TRUE(view.ok()) << view.status();
      EXPECT_EQ(view->dtype, GetParam()) << name;
      const int64_t columns = shape.size() == 2 ? shape[1] : 1;
      for (int64_t i = 0; i < shape[0]; ++i) {
        for (int64_t j = 0; j < columns; ++j) {
          const std::string expected =
              IsKept(name, i, j, masks) ? ElementBytes(name, i, j, item) : std::string(item, '\0');
          ASSERT_EQ(view->bytes.substr((i * columns + j) * item, item), expected)
              << name << " " << i << " " << j;
        }
      }
    }
  }

  fs::path root_;
};

TEST_P(WritePaddedTest, IsTheDenseModelWithZeros) {
  for (bool tied : {false, true}) {
    for (const Subnet& masks : {SmallMasks(), Subnet::Dense(SmallConfig())}) {
      WriteCompact(masks, tied);
      const absl::Status status = WritePadded(root_ / "compact", root_ / "padded");
      ASSERT_TRUE(status.ok()) << status;
      const auto padded = OpenModelFolder(root_ / "padded");
      ASSERT_TRUE(padded.ok()) << padded.status();
      EXPECT_EQ(padded->config, SmallConfig(tied));
      EXPECT_EQ(padded->masks, std::nullopt);
      EXPECT_EQ(padded->tensors->Contains("lm_head.weight"), !tied);
      ExpectMasked(*padded, masks, tied);
      EXPECT_EQ(*ReadFile(root_ / "padded" / "tokenizer.json"), "tokens");
      fs::remove_all(root_ / "padded");
    }
  }
}

TEST_P(WritePaddedTest, AFailureLeavesNothing) {
  WriteCompact(SmallMasks(), /*tied=*/false);
  WriteText(root_ / "compact" / "model.safetensors", "cut");
  const absl::Status status = WritePadded(root_ / "compact", root_ / "padded");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::distance(fs::directory_iterator(root_), {}), 1);
}

TEST_P(WritePaddedTest, RefusesADenseModel) {
  WriteText(root_ / "compact" / "config.json", SmallConfigJson().dump());
  WriteTensors(root_ / "compact" / "model.safetensors",
               SmallTensors(Subnet::Dense(SmallConfig()), GetParam()));
  EXPECT_THAT(WritePadded(root_ / "compact", root_ / "padded").message(),
              HasSubstr("not a compact model"));
}

// Tensors longer than the pieces that are written at once: copied, scattered, and all zero.
TEST_P(WritePaddedTest, LongTensorsAreWhole) {
  constexpr int64_t kWide = 1200;
  const ModelConfig config{.num_layers = 2,
                           .hidden_size = kWide,
                           .num_heads = 1,
                           .num_kv_heads = 1,
                           .head_dim = 2,
                           .intermediate_size = kWide,
                           .vocab_size = kWide,
                           .tie_word_embeddings = true};
  Subnet masks = Subnet::Dense(config);
  masks.layers[0].mlp.Set(3, false);
  masks.layers[1].mlp = Bitmask(kWide);
  std::vector<TestTensor> tensors;
  char fill = 'a';
  for (const TensorSpec& spec : ExpectedTensors(config, masks, GetParam())) {
    tensors.push_back({.spec = spec, .bytes = std::string(spec.ByteSize(), fill++)});
  }
  const auto text = CompactConfigJson(R"({"model_type": "llama"})", config, masks, GetParam());
  ASSERT_TRUE(text.ok()) << text.status();
  WriteText(root_ / "compact" / "config.json", *text);
  WriteTensors(root_ / "compact" / "model.safetensors", tensors);
  const absl::Status status = WritePadded(root_ / "compact", root_ / "padded");
  ASSERT_TRUE(status.ok()) << status;
  const auto padded = OpenModelFolder(root_ / "padded");
  ASSERT_TRUE(padded.ok()) << padded.status();

  const int64_t row = kWide * ItemSize(GetParam());
  const auto bytes = [&](const char* name) { return padded->tensors->Get(name)->bytes; };
  EXPECT_EQ(bytes("model.embed_tokens.weight"), std::string(kWide * row, 'a'));
  // The eighth tensor of file order; its row 3 was omitted.
  EXPECT_EQ(
      bytes("model.layers.0.mlp.gate_proj.weight"),
      std::string(3 * row, 'h') + std::string(row, '\0') + std::string((kWide - 4) * row, 'h'));
  EXPECT_EQ(bytes("model.layers.1.mlp.gate_proj.weight"), std::string(kWide * row, '\0'));
}

// Biases of rows that went are zero again; those of o and down are whole, unless their module went.
TEST_P(WritePaddedTest, BiasesAreScattered) {
  const ModelConfig config = ReformedConfig(SmallConfig(), true);
  const Subnet masks = SmallMasks();
  std::vector<TestTensor> tensors;
  for (const TensorSpec& spec : ExpectedTensors(config, masks, GetParam())) {
    const int64_t item = ItemSize(GetParam());
    std::string bytes;
    for (int64_t i = 0; i < spec.ByteSize() / item; ++i)
      bytes.append(item, static_cast<char>(i + 1));
    tensors.push_back({.spec = spec, .bytes = std::move(bytes)});
  }
  const auto text = CompactConfigJson(SmallConfigJson().dump(), config, masks, GetParam());
  ASSERT_TRUE(text.ok()) << text.status();
  WriteText(root_ / "compact" / "config.json", *text);
  WriteTensors(root_ / "compact" / "model.safetensors", tensors);
  const absl::Status status = WritePadded(root_ / "compact", root_ / "padded");
  ASSERT_TRUE(status.ok()) << status;
  const auto padded = OpenModelFolder(root_ / "padded");
  ASSERT_TRUE(padded.ok()) << padded.status();
  EXPECT_EQ(padded->config, config);
  // Which element of the compact bias each one of the padded bias is, from 1 on.
  const auto sources = [&](const std::string& linear) {
    const TensorView view = *padded->tensors->Get(absl::StrCat("model.layers.", linear, ".bias"));
    std::vector<int> first_bytes;
    for (int64_t i = 0; i < view.shape[0]; ++i) {
      first_bytes.push_back(view.bytes[i * ItemSize(GetParam())]);
    }
    return first_bytes;
  };
  using ::testing::ElementsAre;
  EXPECT_THAT(sources("0.self_attn.k_proj"), ElementsAre(1, 0, 2, 3, 0, 4, 0, 0, 0, 0, 0, 0));
  EXPECT_THAT(sources("0.self_attn.o_proj"), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_THAT(sources("0.mlp.up_proj"), ElementsAre(0, 1, 2, 0, 0, 0, 0, 0, 0, 3));
  EXPECT_THAT(sources("0.mlp.down_proj"), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_THAT(sources("1.self_attn.o_proj"), ElementsAre(0, 0, 0, 0, 0));
}

INSTANTIATE_TEST_SUITE_P(Types, WritePaddedTest,
                         ::testing::Values(DType::kFloat32, DType::kBFloat16));

}  // namespace
}  // namespace espalier
