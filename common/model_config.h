// What a model's config.json says, for the architectures that Espalier supports.
//
// Dimension names used everywhere: L layers, d hidden size, H query heads, G KV heads (groups),
// r = H / G query heads a group, h head dim, f intermediate size, V vocabulary, T sequence length.
#ifndef ESPALIER_COMMON_MODEL_CONFIG_H_
#define ESPALIER_COMMON_MODEL_CONFIG_H_

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace espalier {

// The frequency scaling of Llama 3.1 and later ("rope_type": "llama3").
struct Llama3RopeScaling {
  double factor = 8;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  int64_t original_max_position_embeddings = 8192;

  friend bool operator==(const Llama3RopeScaling&, const Llama3RopeScaling&) = default;
};

struct ModelConfig {
  int64_t num_layers = 0;         // L
  int64_t hidden_size = 0;        // d
  int64_t num_heads = 0;          // H
  int64_t num_kv_heads = 0;       // G, divides H
  int64_t head_dim = 0;           // h, even
  int64_t intermediate_size = 0;  // f
  int64_t vocab_size = 0;         // V
  int64_t max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000;
  std::optional<Llama3RopeScaling> rope_scaling = std::nullopt;
  bool tie_word_embeddings = false;
  // Whether all linears of attentions, of MLPs, have biases. Only those of o and down are computed
  // with; the others must be zero.
  bool attention_bias = false;
  bool mlp_bias = false;

  int64_t queries_per_group() const { return num_heads / num_kv_heads; }  // r
  int64_t pairs() const { return head_dim / 2; }                          // rotary pairs a head

  bool has_biases() const { return attention_bias || mlp_bias; }

  friend bool operator==(const ModelConfig&, const ModelConfig&) = default;
};

// Reads both spellings of config.json: `rope_theta`/`rope_scaling`, and `rope_parameters` of
// transformers 5. `source` names the file in errors. INVALID_ARGUMENT for malformed values;
// UNIMPLEMENTED, naming the key and its value, for anything that would compute something else than
// a LLaMA (another architecture or activation, other rope types, quantisation).
absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json, std::string_view source);

// Reads `directory`/config.json. NOT_FOUND says which file is missing.
absl::StatusOr<ModelConfig> ReadModelConfig(const std::filesystem::path& directory);

}  // namespace espalier

#endif  // ESPALIER_COMMON_MODEL_CONFIG_H_
