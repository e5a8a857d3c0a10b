#include "common/model_config.h"

#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace espalier {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// The shortest config.json that says everything; tests add to it.
nlohmann::json Minimal() {
  return {{"model_type", "llama"},    {"num_hidden_layers", 3},   {"hidden_size", 48},
          {"num_attention_heads", 6}, {"intermediate_size", 100}, {"vocab_size", 77}};
}

absl::StatusOr<ModelConfig> Parse(const nlohmann::json& json) {
  return ParseModelConfig(json.dump(), "dir/config.json");
}

ModelConfig MustParse(const nlohmann::json& json) {
  const auto config = Parse(json);
  EXPECT_TRUE(config.ok()) << config.status();
  return config.value_or(ModelConfig());
}

nlohmann::json With(const char* key, nlohmann::json value) {
  nlohmann::json json = Minimal();
  json[key] = std::move(value);
  return json;
}

TEST(ModelConfigTest, DefaultsAreThoseOfTransformers) {
  const ModelConfig config = MustParse(Minimal());
  EXPECT_EQ(config, (ModelConfig{.num_layers = 3,
                                 .hidden_size = 48,
                                 .num_heads = 6,
                                 .num_kv_heads = 6,
                                 .head_dim = 8,
                                 .intermediate_size = 100,
                                 .vocab_size = 77,
                                 .max_position_embeddings = 2048,
                                 .rms_norm_eps = 1e-6,
                                 .rope_theta = 10000,
                                 .rope_scaling = std::nullopt,
                                 .tie_word_embeddings = false}));
  EXPECT_EQ(config.queries_per_group(), 1);
  EXPECT_EQ(config.pairs(), 4);
}

TEST(ModelConfigTest, NullMeansAbsent) {
  nlohmann::json json = Minimal();
  for (const char* key : {"head_dim", "num_key_value_heads", "rope_scaling", "rope_theta",
                          "quantization_config", "architectures", "tie_word_embeddings"}) {
    json[key] = nullptr;
  }
  EXPECT_EQ(MustParse(json), MustParse(Minimal()));
}

// The config.json of Llama-3.2-1B, but for the ids of its tokens.
TEST(ModelConfigTest, ReadsLlama32) {
  const auto config = ParseModelConfig(R"({
    "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
    "head_dim": 64, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
    "intermediate_size": 8192, "max_position_embeddings": 131072, "mlp_bias": false,
    "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 16,
    "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
    "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                     "original_max_position_embeddings": 8192, "rope_type": "llama3"},
    "rope_theta": 500000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
    "use_cache": true, "vocab_size": 128256})",
                                       "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(*config, (ModelConfig{.num_layers = 16,
                                  .hidden_size = 2048,
                                  .num_heads = 32,
                                  .num_kv_heads = 8,
                                  .head_dim = 64,
                                  .intermediate_size = 8192,
                                  .vocab_size = 128256,
                                  .max_position_embeddings = 131072,
                                  .rms_norm_eps = 1e-5,
                                  .rope_theta = 500000,
                                  .rope_scaling = Llama3RopeScaling{.factor = 32},
                                  .tie_word_embeddings = true}));
}

TEST(ModelConfigTest, ReadsTheFirstConversionsOfLlama1) {
  nlohmann::json json = With("architectures", {"LLaMAForCausalLM"});
  json["max_sequence_length"] = 2048;
  json["pretraining_tp"] = 2;
  EXPECT_EQ(MustParse(json), MustParse(Minimal()));
}

TEST(ModelConfigTest, ArchitecturesAloneSuffice) {
  nlohmann::json json = With("architectures", {"LlamaForCausalLM"});
  json.erase("model_type");
  EXPECT_EQ(MustParse(json), MustParse(Minimal()));
}

TEST(ModelConfigTest, HeadDimNeedNotBeHiddenSizeByHeads) {
  nlohmann::json json = With("head_dim", 20);
  json["num_attention_heads"] = 5;
  EXPECT_EQ(MustParse(json).head_dim, 20);
  json.erase("head_dim");
  EXPECT_THAT(Parse(json).status().message(),
              HasSubstr("\"num_attention_heads\" is 5, must divide hidden_size, 48"));
}

TEST(ModelConfigTest, ReadsRopeParametersOfTransformers5) {
  ModelConfig config =
      MustParse(With("rope_parameters", {{"rope_type", "default"}, {"rope_theta", 5e5}}));
  EXPECT_EQ(config.rope_theta, 500000);
  EXPECT_EQ(config.rope_scaling, std::nullopt);
  config = MustParse(With("rope_parameters", {{"rope_type", "llama3"},
                                              {"rope_theta", 1000},
                                              {"factor", 4},
                                              {"low_freq_factor", 1.5},
                                              {"high_freq_factor", 3},
                                              {"original_max_position_embeddings", 512}}));
  EXPECT_EQ(config.rope_theta, 1000);
  EXPECT_EQ(config.rope_scaling, (Llama3RopeScaling{.factor = 4,
                                                    .low_freq_factor = 1.5,
                                                    .high_freq_factor = 3,
                                                    .original_max_position_embeddings = 512}));
}

TEST(ModelConfigTest, ReadsTheOldestSpellingOfTheRopeType) {
  const nlohmann::json scaling = {{"type", "llama3"},
                                  {"factor", 8},
                                  {"low_freq_factor", 1},
                                  {"high_freq_factor", 4},
                                  {"original_max_position_embeddings", 8192}};
  EXPECT_EQ(MustParse(With("rope_scaling", scaling)).rope_scaling, Llama3RopeScaling());
  EXPECT_EQ(MustParse(With("rope_scaling", {{"type", "default"}})).rope_scaling, std::nullopt);
}

TEST(ModelConfigTest, BothSpellingsMustAgree) {
  nlohmann::json json = With("rope_theta", 500);
  json["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 500}};
  EXPECT_EQ(MustParse(json).rope_theta, 500);
  json["rope_parameters"]["rope_theta"] = 501;
  EXPECT_THAT(Parse(json).status().message(), HasSubstr("\"rope_parameters\""));
  json["rope_parameters"].erase("rope_theta");
  EXPECT_EQ(MustParse(json).rope_theta, 500);
  json["rope_scaling"] = {{"rope_type", "llama3"},
                          {"factor", 8},
                          {"low_freq_factor", 1},
                          {"high_freq_factor", 4},
                          {"original_max_position_embeddings", 8192}};
  EXPECT_EQ(Parse(json).status().code(), absl::StatusCode::kInvalidArgument);
}

// Whether the values can be computed with, the engine sees.
TEST(ModelConfigTest, SaysWhichLinearsHaveBiases) {
  EXPECT_FALSE(MustParse(With("attention_bias", false)).has_biases());
  EXPECT_TRUE(MustParse(With("attention_bias", true)).attention_bias);
  EXPECT_FALSE(MustParse(With("attention_bias", true)).mlp_bias);
  EXPECT_TRUE(MustParse(With("mlp_bias", true)).mlp_bias);
  EXPECT_TRUE(MustParse(With("mlp_bias", true)).has_biases());
}

struct Refusal {
  const char* key;
  const char* value;  // JSON
  const char* message;
};

class UnsupportedTest : public ::testing::TestWithParam<Refusal> {};

TEST_P(UnsupportedTest, IsRefusedByName) {
  const Refusal& refusal = GetParam();
  const auto config = Parse(With(refusal.key, nlohmann::json::parse(refusal.value)));
  EXPECT_EQ(config.status().code(), absl::StatusCode::kUnimplemented) << config.status();
  EXPECT_THAT(config.status().message(),
              AllOf(HasSubstr("dir/config.json: "), HasSubstr(refusal.message)));
}

INSTANTIATE_TEST_SUITE_P(
    All, UnsupportedTest,
    ::testing::Values(
        Refusal{"model_type", R"("mistral")", "\"model_type\" is \"mistral\""},
        Refusal{"model_type", R"("espalier_compact")", "give the dense model"},
        Refusal{"architectures", R"(["MistralForCausalLM"])", "MistralForCausalLM"},
        Refusal{"architectures", R"(["LlamaForSequenceClassification"])", "\"architectures\""},
        Refusal{"architectures", R"([])", "\"architectures\" is []"},
        Refusal{"hidden_act", R"("gelu")", "\"hidden_act\" is \"gelu\""},
        Refusal{"partial_rotary_factor", "0.5", "\"partial_rotary_factor\" is 0.5"},
        Refusal{"quantization_config", R"({"bits": 4})", "\"quantization_config\""},
        Refusal{"rope_scaling", R"({"type": "linear", "factor": 2})",
                "\"rope_scaling.type\" is \"linear\""},
        Refusal{"rope_scaling", R"({"rope_type": "dynamic", "factor": 2})",
                "\"rope_scaling.rope_type\" is \"dynamic\""},
        Refusal{"rope_parameters", R"({"rope_type": "yarn", "factor": 2})",
                "\"rope_parameters.rope_type\" is \"yarn\""},
        Refusal{"rope_parameters", R"({"rope_type": "default", "partial_rotary_factor": 0.25})",
                "\"rope_parameters.partial_rotary_factor\" is 0.25"}));

class MalformedTest : public ::testing::TestWithParam<Refusal> {};

TEST_P(MalformedTest, IsRefusedByName) {
  const Refusal& refusal = GetParam();
  const auto config = Parse(With(refusal.key, nlohmann::json::parse(refusal.value)));
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument) << config.status();
  EXPECT_THAT(config.status().message(),
              AllOf(HasSubstr("dir/config.json: "), HasSubstr(refusal.message)));
}

INSTANTIATE_TEST_SUITE_P(
    All, MalformedTest,
    ::testing::Values(
        Refusal{"hidden_size", "null", "\"hidden_size\" is missing"},
        Refusal{"hidden_size", "-48", "\"hidden_size\" is -48, must be an integer from 1 to"},
        Refusal{"hidden_size", "48.5", "\"hidden_size\" is 48.5"},
        Refusal{"hidden_size", R"("48")", "\"hidden_size\" is \"48\""},
        Refusal{"vocab_size", "0", "\"vocab_size\" is 0"},
        Refusal{"vocab_size", "18446744073709551615", "\"vocab_size\" is 18446744073709551615"},
        Refusal{"intermediate_size", "4294967296", "\"intermediate_size\" is 4294967296"},
        Refusal{"num_hidden_layers", "1000000000", "\"num_hidden_layers\" is 1000000000"},
        Refusal{"num_attention_heads", "100000000", "\"num_attention_heads\" is 100000000"},
        Refusal{"num_key_value_heads", "4",
                "\"num_key_value_heads\" is 4, must divide num_attention_heads, 6"},
        Refusal{"num_key_value_heads", "12", "must divide num_attention_heads"},
        Refusal{"head_dim", "7", "\"head_dim\" is 7, must be even"},
        Refusal{"head_dim", "1000000000", "\"head_dim\" is 1000000000"},
        Refusal{"max_position_embeddings", "true", "\"max_position_embeddings\" is true"},
        Refusal{"rms_norm_eps", "-1e-6", "\"rms_norm_eps\" is -1e-06, must be a positive number"},
        Refusal{"rms_norm_eps", R"("small")", "\"rms_norm_eps\""},
        Refusal{"rope_theta", "0", "\"rope_theta\" is 0"},
        Refusal{"tie_word_embeddings", "1", "\"tie_word_embeddings\" is 1, must be true or false"},
        Refusal{"attention_bias", "0", "\"attention_bias\" is 0"},
        Refusal{"mlp_bias", R"("yes")", "\"mlp_bias\" is \"yes\""},
        Refusal{"rope_scaling", "8", "\"rope_scaling\" is 8, must be an object"},
        Refusal{"rope_scaling", "{}", "\"rope_scaling.rope_type\" is missing"},
        Refusal{"rope_scaling", R"({"rope_type": "llama3"})", "\"rope_scaling.factor\" is missing"},
        Refusal{"rope_parameters",
                R"({"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4,
                    "original_max_position_embeddings": 8192})",
                "\"rope_parameters.high_freq_factor\" is 4, must be greater"}));

TEST(ModelConfigTest, RefusesWhatIsNotAnObject) {
  EXPECT_EQ(ParseModelConfig("{", "x/config.json").status(),
            absl::InvalidArgumentError("x/config.json is not valid JSON"));
  EXPECT_EQ(ParseModelConfig("[1]", "x/config.json").status(),
            absl::InvalidArgumentError("x/config.json is not a JSON object"));
  EXPECT_THAT(ParseModelConfig("{}", "x/config.json").status().message(),
              HasSubstr("\"model_type\" is missing"));
}

// Values are printed in errors, and that takes stack for every level.
TEST(ModelConfigTest, RefusesDepth) {
  const std::string deep = "{\"model_type\": " + std::string(1 << 20, '[');
  EXPECT_EQ(ParseModelConfig(deep + std::string(1 << 20, ']') + "}", "x/config.json").status(),
            absl::InvalidArgumentError("x/config.json is not valid JSON"));
}

TEST(ModelConfigTest, LongValuesAreCutInErrors) {
  const auto config = Parse(With("model_type", std::string(10000, 'x')));
  EXPECT_LT(config.status().message().size(), 400);
}

TEST(ModelConfigTest, ReadsFromAFolder) {
  const std::filesystem::path folder =
      std::filesystem::path(::testing::TempDir()) / "model_config_test";
  std::filesystem::create_directories(folder);
  std::filesystem::remove(folder / "config.json");
  const auto missing = ReadModelConfig(folder);
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(missing.status().message(), HasSubstr("model_config_test/config.json"));
  std::ofstream(folder / "config.json") << Minimal().dump();
  const auto config = ReadModelConfig(folder);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->hidden_size, 48);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace espalier
