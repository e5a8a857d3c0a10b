#include "common/model_folder.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/model_folder_test_util.h"
#include "common/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ModelFolderTest : public ::testing::Test {
 protected:
  ModelFolderTest() {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(::testing::TempDir()) / absl::StrCat("model_folder_test_", info->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~ModelFolderTest() override { fs::remove_all(folder_); }

  void WriteDense(const nlohmann::json& config, const std::vector<TestTensor>& tensors) {
    WriteText(folder_ / "config.json", config.dump());
    WriteTensors(folder_ / "model.safetensors", tensors);
  }
  void WriteCompact(const std::vector<TestTensor>& tensors) {
    const auto config =
        CompactConfigJson(SmallConfigJson().dump(), SmallConfig(), SmallMasks(), DType::kFloat32);
    ASSERT_TRUE(config.ok()) << config.status();
    WriteText(folder_ / "config.json", *config);
    WriteTensors(folder_ / "model.safetensors", tensors);
  }
  std::vector<TestTensor> DenseTensors(bool tied = false) {
    return SmallTensors(Subnet::Dense(SmallConfig()), DType::kFloat32, tied);
  }

  fs::path folder_;
};

// Removes or changes one tensor of a list.
TestTensor& Named(std::vector<TestTensor>& tensors, std::string_view name) {
  return *std::find_if(tensors.begin(), tensors.end(),
                       [&](const TestTensor& tensor) { return tensor.spec.name == name; });
}

void Remove(std::vector<TestTensor>& tensors, std::string_view name) {
  std::erase_if(tensors, [&](const TestTensor& tensor) { return tensor.spec.name == name; });
}

TEST(ModelTensorsTest, RowsOfAHeadAreFirstDimsThenSecondDims) {
  const LayerMask mask = SmallMasks().layers[0];
  // Group 0 keeps pairs 0 and 2, of query heads 0 and 1.
  EXPECT_THAT(QueryRows(mask, SmallConfig()), ElementsAre(0, 2, 3, 5, 6, 8, 9, 11));
  EXPECT_THAT(KeyValueRows(mask, SmallConfig()), ElementsAre(0, 2, 3, 5));
  LayerMask other = mask;
  other.attention = {Bitmask(3), Bitmask::FromIndices(3, {1})};
  EXPECT_THAT(QueryRows(other, SmallConfig()), ElementsAre(13, 16, 19, 22));
  EXPECT_THAT(KeyValueRows(other, SmallConfig()), ElementsAre(7, 10));
}

TEST(ModelTensorsTest, ExpectedTensorsOfDenseAndCompactModels) {
  for (const Subnet& masks : {Subnet::Dense(SmallConfig()), SmallMasks()}) {
    for (bool tied : {false, true}) {
      std::map<std::string, std::vector<int64_t>> expected;
      for (const TestTensor& tensor : SmallTensors(masks, DType::kFloat16, tied)) {
        expected[tensor.spec.name] = tensor.spec.shape;
      }
      std::map<std::string, std::vector<int64_t>> got;
      int64_t parameters = 0;
      for (const TensorSpec& spec : ExpectedTensors(SmallConfig(tied), masks, DType::kFloat16)) {
        EXPECT_EQ(spec.dtype, DType::kFloat16);
        got[spec.name] = spec.shape;
        parameters += spec.ByteSize() / 2;
      }
      EXPECT_EQ(got, expected);
      EXPECT_EQ(parameters, CountParameters(masks, SmallConfig(tied)));
    }
  }
}

TEST(ModelTensorsTest, FileOrderFollowsTheModel) {
  std::vector<std::string> names;
  for (const TensorSpec& spec : ExpectedTensors(SmallConfig(), SmallMasks(), DType::kFloat32)) {
    names.push_back(spec.name);
  }
  EXPECT_THAT(
      names,
      ElementsAre(
          "model.embed_tokens.weight", "model.layers.0.input_layernorm.weight",
          "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight",
          "model.layers.0.self_attn.v_proj.weight", "model.layers.0.self_attn.o_proj.weight",
          "model.layers.0.post_attention_layernorm.weight", "model.layers.0.mlp.gate_proj.weight",
          "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.down_proj.weight",
          "model.layers.1.post_attention_layernorm.weight", "model.layers.1.mlp.gate_proj.weight",
          "model.layers.1.mlp.up_proj.weight", "model.layers.1.mlp.down_proj.weight",
          "model.norm.weight", "lm_head.weight"));
}

TEST_F(ModelFolderTest, OpensADenseModel) {
  WriteDense(SmallConfigJson(), DenseTensors());
  const auto folder = OpenModelFolder(folder_);
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_EQ(folder->path, folder_);
  EXPECT_EQ(folder->config, SmallConfig());
  EXPECT_EQ(folder->masks, std::nullopt);
  EXPECT_TRUE(folder->tensors->Contains("model.norm.weight"));
}

TEST_F(ModelFolderTest, OpensACompactModel) {
  WriteCompact(SmallTensors(SmallMasks(), DType::kFloat32));
  const auto folder = OpenModelFolder(folder_);
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_EQ(folder->config, SmallConfig());
  EXPECT_EQ(folder->masks, SmallMasks());
}

TEST_F(ModelFolderTest, WhatTheModelDoesNotNeedIsIgnored) {
  std::vector<TestTensor> tensors = DenseTensors(/*tied=*/true);
  tensors.push_back({.spec = {.name = "lm_head.weight", .shape = {1}}, .bytes = "abcd"});
  tensors.push_back({.spec = {.name = "model.layers.0.self_attn.rotary_emb.inv_freq", .shape = {1}},
                     .bytes = "abcd"});
  WriteDense(SmallConfigJson(/*tied=*/true), tensors);
  EXPECT_TRUE(OpenModelFolder(folder_).ok());
}

TEST_F(ModelFolderTest, MissingTensorsAreNamed) {
  std::vector<TestTensor> tensors = DenseTensors();
  Remove(tensors, "model.layers.1.mlp.up_proj.weight");
  WriteDense(SmallConfigJson(), tensors);
  EXPECT_EQ(OpenModelFolder(folder_).status(),
            absl::NotFoundError(absl::StrCat(
                folder_.string(), ": has no tensor \"model.layers.1.mlp.up_proj.weight\"")));
}

TEST_F(ModelFolderTest, AMissingHeadIsExplained) {
  std::vector<TestTensor> tensors = DenseTensors();
  Remove(tensors, "lm_head.weight");
  WriteDense(SmallConfigJson(), tensors);
  const absl::Status status = OpenModelFolder(folder_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr("\"lm_head.weight\""), HasSubstr("\"tie_word_embeddings\"")));
}

TEST_F(ModelFolderTest, WrongShapesAreNamed) {
  std::vector<TestTensor> tensors = DenseTensors();
  Named(tensors, "model.layers.2.self_attn.k_proj.weight").spec.shape = {5, 12};
  WriteDense(SmallConfigJson(), tensors);
  const absl::Status status = OpenModelFolder(folder_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("\"model.layers.2.self_attn.k_proj.weight\""),
                                      HasSubstr("[5, 12]"), HasSubstr("[12, 5]")));
}

TEST_F(ModelFolderTest, ACompactModelNeedsExactlyItsTensors) {
  std::vector<TestTensor> tensors = SmallTensors(SmallMasks(), DType::kFloat32);
  Remove(tensors, "model.layers.0.self_attn.o_proj.weight");
  WriteCompact(tensors);
  EXPECT_THAT(OpenModelFolder(folder_).status().message(),
              HasSubstr("model.layers.0.self_attn.o_proj.weight"));
  WriteCompact(DenseTensors());
  EXPECT_THAT(OpenModelFolder(folder_).status().message(),
              HasSubstr("has shape [24, 5], config.json asks for [8, 5]"));
}

TEST_F(ModelFolderTest, WrongDetailsOfACompactConfigAreNamed) {
  WriteCompact(SmallTensors(SmallMasks(), DType::kFloat32));
  std::ifstream stream(folder_ / "config.json");
  const nlohmann::json good = nlohmann::json::parse(stream);
  const auto message_with = [&](const char* key, const nlohmann::json& value) {
    nlohmann::json config = good;
    config[key] = value;
    WriteText(folder_ / "config.json", config.dump());
    return std::string(OpenModelFolder(folder_).status().message());
  };
  EXPECT_THAT(message_with("masks", nullptr),
              AllOf(HasSubstr("config.json: "), HasSubstr("no array \"masks\"")));
  EXPECT_THAT(message_with("hidden_act", "gelu"), HasSubstr("\"hidden_act\" is \"gelu\""));
  EXPECT_THAT(message_with("hidden_size", -1), HasSubstr("\"hidden_size\" is -1"));
  EXPECT_THAT(message_with("num_hidden_layers", 4),
              HasSubstr("\"masks\" has 3 elements, the model needs 4"));
}

// Its masks alone would take 11 GB.
TEST_F(ModelFolderTest, AConfigThatAsksForTheImpossibleIsRefusedByItsTensors) {
  nlohmann::json config = SmallConfigJson();
  config["num_hidden_layers"] = 1 << 12;
  config["num_attention_heads"] = 1 << 16;
  config["num_key_value_heads"] = 1 << 16;
  config["head_dim"] = 1 << 8;
  config["intermediate_size"] = 1 << 22;
  WriteDense(config, DenseTensors());
  EXPECT_THAT(std::string(OpenModelFolder(folder_).status().message()),
              AllOf(HasSubstr("model.layers.0."), HasSubstr("has shape")));
}

TEST_F(ModelFolderTest, SaysWhatIsNotThere) {
  EXPECT_THAT(OpenModelFolder(folder_ / "none").status().message(),
              HasSubstr("none is not a folder"));
  EXPECT_THAT(OpenModelFolder(folder_).status().message(), HasSubstr("config.json"));
  WriteText(folder_ / "config.json", SmallConfigJson().dump());
  EXPECT_THAT(OpenModelFolder(folder_).status().message(), HasSubstr("has no weights"));
}

TEST_F(ModelFolderTest, FindsTokenizerFiles) {
  EXPECT_TRUE(TokenizerFiles(folder_).empty());
  for (const char* name : {"config.json", "merges.txt", "tokenizer.json", "model.safetensors"}) {
    WriteText(folder_ / name, "x");
  }
  EXPECT_THAT(TokenizerFiles(folder_), ElementsAre("tokenizer.json", "merges.txt"));
}

// The definition, spelled out: it is stored with results, so it must never change.
TEST_F(ModelFolderTest, HashIsOfHashesOfTensorsInNameOrder) {
  std::vector<TestTensor> tensors = DenseTensors(/*tied=*/true);  // sorted by name
  WriteDense(SmallConfigJson(/*tied=*/true), tensors);
  std::string all;
  for (const TestTensor& tensor : tensors) {
    std::string shape = absl::StrCat(tensor.spec.shape[0]);
    if (tensor.spec.shape.size() == 2) absl::StrAppend(&shape, ",", tensor.spec.shape[1]);
    absl::StrAppend(&all, Sha256Hex(tensor.spec.name + "\nF32\n" + shape + "\n" + tensor.bytes),
                    "\n");
  }
  const std::string line =
      "heads 4 kv_heads 2 head_dim 6 rms_norm_eps 1.0000000000000001e-05 rope_theta 500\n";
  const auto folder = OpenModelFolder(folder_);
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_EQ(ModelHash(*folder), Sha256Hex(line + all));
}

TEST_F(ModelFolderTest, HashSeesTheConfigurationThatIsComputedWith) {
  const auto hash = [&](const nlohmann::json& config) {
    WriteDense(config, DenseTensors());
    const auto folder = OpenModelFolder(folder_);
    EXPECT_TRUE(folder.ok()) << folder.status();
    return folder.ok() ? ModelHash(*folder) : "";
  };
  nlohmann::json config = SmallConfigJson();
  const std::string original = hash(config);
  config["bos_token_id"] = 7;
  EXPECT_EQ(hash(config), original);
  config["rope_theta"] = 12345.0;
  EXPECT_NE(hash(config), original);
}

TEST_F(ModelFolderTest, HashSeesContentsOnly) {
  const auto hash = [&](const std::vector<TestTensor>& tensors) {
    WriteDense(SmallConfigJson(), tensors);
    const auto folder = OpenModelFolder(folder_);
    EXPECT_TRUE(folder.ok()) << folder.status();
    return folder.ok() ? ModelHash(*folder) : "";
  };
  const std::vector<TestTensor> tensors = DenseTensors();
  const std::string original = hash(tensors);

  std::vector<TestTensor> other = tensors;
  std::reverse(other.begin(), other.end());
  other.push_back({.spec = {.name = "unused", .shape = {1}}, .bytes = "abcd"});
  EXPECT_EQ(hash(other), original);

  other = tensors;
  Named(other, "model.layers.1.mlp.down_proj.weight").bytes.back() ^= 1;
  EXPECT_NE(hash(other), original);

  other = tensors;
  std::swap(Named(other, "lm_head.weight").bytes, Named(other, "model.embed_tokens.weight").bytes);
  EXPECT_NE(hash(other), original);
}

}  // namespace
}  // namespace espalier
