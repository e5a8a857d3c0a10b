// Small model folders for the tests of model_folder.h, built by rules of their own: an element of a
// tensor has a value that tells where it was, and a compact tensor is the subsequence of the dense
// one's rows and columns that IsKept names.
#ifndef ESPALIER_COMMON_MODEL_FOLDER_TEST_UTIL_H_
#define ESPALIER_COMMON_MODEL_FOLDER_TEST_UTIL_H_

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/model_folder.h"
#include "common/testing/model_files.h"
#include "nlohmann/json.hpp"

namespace espalier {

// Query heads 0 and 1 share group 0, heads 2 and 3 group 1; head dim 6, so that it is not d / H.
inline ModelConfig SmallConfig(bool tied = false) {
  return {.num_layers = 3,
          .hidden_size = 5,
          .num_heads = 4,
          .num_kv_heads = 2,
          .head_dim = 6,
          .intermediate_size = 10,
          .vocab_size = 7,
          .max_position_embeddings = 64,
          .rms_norm_eps = 1e-5,
          .rope_theta = 500,
          .rope_scaling = std::nullopt,
          .tie_word_embeddings = tied};
}

inline nlohmann::json SmallConfigJson(bool tied = false) {
  nlohmann::json json = ConfigJson(SmallConfig(tied));
  json["bos_token_id"] = 3;
  return json;
}

// Layer 0 thinned, with one whole group gone; layer 1 without attention; layer 2 dropped.
inline Subnet SmallMasks() {
  Subnet masks = Subnet::Dense(SmallConfig());
  masks.layers[0].attention = {Bitmask::FromIndices(3, {0, 2}), Bitmask(3)};
  masks.layers[0].mlp = Bitmask::FromIndices(10, {1, 2, 9});
  masks.layers[1].attention = {Bitmask(3), Bitmask(3)};
  masks.layers[2] = {.attention = {Bitmask(3), Bitmask(3)}, .mlp = Bitmask(10)};
  return masks;
}

// The dense shapes, written down by hand.
inline std::map<std::string, std::vector<int64_t>> SmallShapes(bool tied = false) {
  std::map<std::string, std::vector<int64_t>> shapes = {{"model.embed_tokens.weight", {7, 5}},
                                                        {"model.norm.weight", {5}}};
  if (!tied) shapes["lm_head.weight"] = {7, 5};
  for (const char* layer : {"model.layers.0.", "model.layers.1.", "model.layers.2."}) {
    const std::string prefix = layer;
    shapes[prefix + "input_layernorm.weight"] = {5};
    shapes[prefix + "self_attn.q_proj.weight"] = {24, 5};
    shapes[prefix + "self_attn.k_proj.weight"] = {12, 5};
    shapes[prefix + "self_attn.v_proj.weight"] = {12, 5};
    shapes[prefix + "self_attn.o_proj.weight"] = {5, 24};
    shapes[prefix + "post_attention_layernorm.weight"] = {5};
    shapes[prefix + "mlp.gate_proj.weight"] = {10, 5};
    shapes[prefix + "mlp.up_proj.weight"] = {10, 5};
    shapes[prefix + "mlp.down_proj.weight"] = {5, 10};
  }
  return shapes;
}

inline bool IsKept(const std::string& name, int64_t row, int64_t column, const Subnet& masks) {
  const auto has = [&](std::string_view part) { return name.find(part) != std::string::npos; };
  if (!has("layers.")) return true;
  const LayerMask& mask = masks.layers[name[std::strlen("model.layers.")] - '0'];
  const auto kept_head = [&](int64_t index, int64_t heads_per_group) {
    return mask.attention[index / 6 / heads_per_group].Test(index % 6 % 3);
  };
  if (has("input_layernorm")) return mask.HasAttention();
  if (has("post_attention_layernorm")) return mask.HasMlp();
  if (has("q_proj")) return kept_head(row, 2);
  if (has("k_proj") || has("v_proj")) return kept_head(row, 1);
  if (has("o_proj")) return kept_head(column, 2);
  return mask.mlp.Test(has("down_proj") ? column : row);
}

// Never zero; different for every element of a tensor, and for most of different tensors.
inline std::string ElementBytes(const std::string& name, int64_t row, int64_t column,
                                int64_t item_size) {
  uint32_t seed = 7;
  for (char c : name) seed = seed * 31 + static_cast<uint8_t>(c);
  const uint32_t value = (seed % 200 + 1) << 8 | static_cast<uint32_t>(row * 10 + column) % 256;
  return std::string(reinterpret_cast<const char*>(&value), item_size);
}

struct TestTensor {
  TensorSpec spec;
  std::string bytes;
};

// The part of a dense tensor that `masks` keep; with an empty shape if that is nothing.
inline TestTensor KeptPart(const std::string& name, const std::vector<int64_t>& dense_shape,
                           const Subnet& masks, DType dtype) {
  const int64_t columns = dense_shape.size() == 2 ? dense_shape[1] : 1;
  TestTensor tensor{.spec = {.name = name, .dtype = dtype, .shape = {}}, .bytes = ""};
  int64_t elements = 0;
  int64_t rows = 0;
  for (int64_t i = 0; i < dense_shape[0]; ++i) {
    const int64_t before = elements;
    for (int64_t j = 0; j < columns; ++j) {
      if (!IsKept(name, i, j, masks)) continue;
      tensor.bytes += ElementBytes(name, i, j, ItemSize(dtype));
      ++elements;
    }
    if (elements > before) ++rows;
  }
  if (rows > 0) tensor.spec.shape = {rows};
  if (rows > 0 && dense_shape.size() == 2) tensor.spec.shape.push_back(elements / rows);
  return tensor;
}

inline void WriteText(const std::filesystem::path& file, std::string_view text) {
  std::ofstream(file, std::ios::binary) << text;
}

inline void WriteTensors(const std::filesystem::path& file,
                         const std::vector<TestTensor>& tensors) {
  std::vector<TensorSpec> specs;
  std::string data;
  for (const TestTensor& tensor : tensors) {
    specs.push_back(tensor.spec);
    data += tensor.bytes;
  }
  WriteText(file, SafetensorsHeader(specs, {{"format", "pt"}}) + data);
}

inline std::vector<TestTensor> SmallTensors(const Subnet& masks, DType dtype, bool tied = false) {
  std::vector<TestTensor> tensors;
  for (const auto& [name, shape] : SmallShapes(tied)) {
    TestTensor tensor = KeptPart(name, shape, masks, dtype);
    if (!tensor.spec.shape.empty()) tensors.push_back(std::move(tensor));
  }
  return tensors;
}

}  // namespace espalier

#endif  // ESPALIER_COMMON_MODEL_FOLDER_TEST_UTIL_H_
