// Shapes of published models, from their config.json, for tests and benchmarks.
#ifndef ESPALIER_COMMON_TESTING_MODEL_SHAPES_H_
#define ESPALIER_COMMON_TESTING_MODEL_SHAPES_H_

#include "common/model_config.h"

namespace espalier {

inline ModelConfig LlamaShape(int64_t layers, int64_t hidden, int64_t heads, int64_t intermediate) {
  ModelConfig config;
  config.num_layers = layers;
  config.hidden_size = hidden;
  config.num_heads = config.num_kv_heads = heads;
  config.head_dim = hidden / heads;
  config.intermediate_size = intermediate;
  config.vocab_size = 32000;
  config.max_position_embeddings = 2048;
  return config;
}
inline ModelConfig Llama7B() { return LlamaShape(32, 4096, 32, 11008); }
inline ModelConfig Llama13B() { return LlamaShape(40, 5120, 40, 13824); }
inline ModelConfig Llama30B() { return LlamaShape(60, 6656, 52, 17920); }
inline ModelConfig Llama65B() { return LlamaShape(80, 8192, 64, 22016); }
// LLaMA 2 70B without its 4096 positions: the most channels of the family at this depth.
inline ModelConfig Llama70B() {
  ModelConfig config = LlamaShape(80, 8192, 64, 28672);
  config.num_kv_heads = 8;
  return config;
}

inline ModelConfig SmolLm2() {
  ModelConfig config = LlamaShape(30, 576, 9, 1536);
  config.num_kv_heads = 3;
  config.vocab_size = 49152;
  config.max_position_embeddings = 8192;
  config.tie_word_embeddings = true;
  return config;
}

}  // namespace espalier

#endif  // ESPALIER_COMMON_TESTING_MODEL_SHAPES_H_
