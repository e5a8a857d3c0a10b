#include "worker/engine/test_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <utility>
#include <vector>

#include "common/model_folder.h"
#include "common/safetensors.h"
#include "common/testing/model_files.h"

namespace espalier {

ModelConfig TestConfig(int64_t num_heads, int64_t num_kv_heads, bool tied) {
  ModelConfig config;
  config.num_layers = 3;
  config.hidden_size = 72;
  config.num_heads = num_heads;
  config.num_kv_heads = num_kv_heads;
  config.head_dim = 16;
  config.intermediate_size = 150;
  config.vocab_size = 601;
  config.max_position_embeddings = 1024;
  config.rms_norm_eps = 1e-5;
  config.rope_theta = 10000;
  config.tie_word_embeddings = tied;
  return config;
}

std::filesystem::path WriteTestModel(const ModelConfig& config, uint64_t seed,
                                     const std::string& name) {
  std::filesystem::path folder = std::filesystem::path(::testing::TempDir()) / name;
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "config.json") << ConfigJson(config).dump();

  const std::vector<TensorSpec> specs =
      ExpectedTensors(config, Subnet::Dense(config), DType::kFloat32);
  std::ofstream file(folder / "model.safetensors", std::ios::binary);
  file << SafetensorsHeader(specs, {});
  const auto has_bias = [](const std::string& name) {
    return name.ends_with("o_proj.bias") || name.ends_with("down_proj.bias");
  };
  for (size_t i = 0; i < specs.size(); ++i) {
    RandomStream random(seed, RandomPurpose::kTest, 0, static_cast<uint32_t>(i));
    const bool bias = specs[i].name.ends_with(".bias");
    const bool norm = specs[i].shape.size() == 1 && !bias;
    const double spread = norm ? 0.3 : 2.5 / std::sqrt(static_cast<double>(specs[i].shape.back()));
    std::vector<float> values(specs[i].ByteSize() / 4);
    for (float& value : values) {
      value = static_cast<float>((norm ? 1.0 : 0.0) + spread * (2 * random.Uniform() - 1));
      if (bias && !has_bias(specs[i].name)) value = 0;
    }
    file.write(reinterpret_cast<const char*>(values.data()),
               static_cast<std::streamsize>(values.size() * 4));
  }
  return folder;
}

Subnet RandomTestSubnet(const ModelConfig& config, double density, bool drop_layers,
                        uint64_t seed) {
  Subnet subnet = Subnet::Dense(config);
  for (size_t i = 0; i < subnet.layers.size(); ++i) {
    RandomStream random(seed, RandomPurpose::kTest, 1, static_cast<uint32_t>(i));
    LayerMask& layer = subnet.layers[i];
    const bool no_attention = drop_layers && random.Bernoulli(0.3);
    const bool no_mlp = drop_layers && random.Bernoulli(0.3);
    for (Bitmask& group : layer.attention) {
      const bool no_group = no_attention || random.Bernoulli(0.15);
      for (int64_t p = 0; p < group.size(); ++p) {
        group.Set(p, !no_group && random.Bernoulli(density));
      }
    }
    for (int64_t j = 0; j < layer.mlp.size(); ++j) {
      layer.mlp.Set(j, !no_mlp && random.Bernoulli(density));
    }
  }
  return subnet;
}

TokenSequences RandomTokens(const ModelConfig& config, int64_t sequences, int64_t length,
                            uint64_t seed) {
  RandomStream random(seed, RandomPurpose::kTest, 2, 0);
  std::vector<int32_t> tokens(sequences * length);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random.Below(config.vocab_size));
  return MakeTokenSequences(length, std::move(tokens));
}

}  // namespace espalier
