// Files of a model folder, for tests and benchmarks.
#ifndef ESPALIER_COMMON_TESTING_MODEL_FILES_H_
#define ESPALIER_COMMON_TESTING_MODEL_FILES_H_

#include <string>

#include "common/model_config.h"
#include "nlohmann/json.hpp"

namespace espalier {

// config.json, without rope_scaling and torch_dtype.
inline nlohmann::json ConfigJson(const ModelConfig& config) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_act", "silu"},
          {"num_hidden_layers", config.num_layers},
          {"hidden_size", config.hidden_size},
          {"num_attention_heads", config.num_heads},
          {"num_key_value_heads", config.num_kv_heads},
          {"head_dim", config.head_dim},
          {"intermediate_size", config.intermediate_size},
          {"vocab_size", config.vocab_size},
          {"max_position_embeddings", config.max_position_embeddings},
          {"rms_norm_eps", config.rms_norm_eps},
          {"rope_theta", config.rope_theta},
          {"tie_word_embeddings", config.tie_word_embeddings},
          {"attention_bias", config.attention_bias},
          {"mlp_bias", config.mlp_bias}};
}

// tokenizer.json of a byte-level BPE that merges nothing: a token for each character of the text in
// GPT-2's alphabet of bytes. `vocabulary` has their ids; other characters make the text invalid.
inline nlohmann::json ByteLevelTokenizerJson(const nlohmann::json& vocabulary) {
  const nlohmann::json byte_level = {{"type", "ByteLevel"},
                                     {"add_prefix_space", false},
                                     {"trim_offsets", true},
                                     {"use_regex", true}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", nlohmann::json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"post_processor", nullptr},
          {"decoder", byte_level},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"vocab", vocabulary},
            {"merges", nlohmann::json::array()}}}};
}

}  // namespace espalier

#endif  // ESPALIER_COMMON_TESTING_MODEL_FILES_H_
