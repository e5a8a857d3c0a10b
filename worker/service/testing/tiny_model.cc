#include "worker/service/testing/tiny_model.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "common/file.h"
#include "common/model_folder.h"
#include "common/testing/model_files.h"

namespace espalier {
namespace {

void WriteOrDie(const std::filesystem::path& path, std::string_view contents) {
  const absl::Status status = WriteFileAtomically(path, contents);
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  std::abort();
}

}  // namespace

ModelConfig TinyConfig() {
  return {.num_layers = 3,
          .hidden_size = 16,
          .num_heads = 4,
          .num_kv_heads = 2,
          .head_dim = 8,
          .intermediate_size = 24,
          .vocab_size = 32,
          .max_position_embeddings = 64,
          .rms_norm_eps = 1e-6,
          .rope_theta = 10000,
          .rope_scaling = std::nullopt,
          .tie_word_embeddings = true};
}

void WriteTinyModel(const std::filesystem::path& folder, uint32_t seed, DType dtype) {
  std::filesystem::create_directories(folder);
  WriteOrDie(folder / "config.json", ConfigJson(TinyConfig()).dump());
  WriteOrDie(folder / "tokenizer.json", "{\"of\": \"the tiny model\"}");
  WriteOrDie(folder / "tokenizer_config.json", "{}");
  const std::vector<TensorSpec> tensors =
      ExpectedTensors(TinyConfig(), Subnet::Dense(TinyConfig()), dtype);
  std::string file = SafetensorsHeader(tensors, {{"format", "pt"}});
  uint32_t value = seed;
  for (const TensorSpec& tensor : tensors) {
    for (int64_t i = 0; i < tensor.ByteSize(); i += 2) {
      // Small positive numbers in either 16-bit type, and as halves of 32-bit ones.
      const auto word = static_cast<uint16_t>(0x3c00 + (value++ * 2654435761u >> 24));
      file.append(reinterpret_cast<const char*>(&word), sizeof(word));
    }
  }
  WriteOrDie(folder / "model.safetensors", file);
}

Subnet TinySubnet() {
  Subnet subnet = Subnet::Dense(TinyConfig());
  subnet.layers[0].attention[1].Set(2, false);
  subnet.layers[0].mlp.Set(5, false);
  subnet.layers[1].attention[0] = Bitmask(4);
  subnet.layers[1].mlp = Bitmask(24);
  subnet.layers[2].attention = {Bitmask(4), Bitmask(4)};
  subnet.layers[2].mlp = Bitmask(24);
  return subnet;
}

v1::SubnetMasks ToMessage(const Subnet& subnet) {
  v1::SubnetMasks message;
  for (const LayerMask& layer : subnet.layers) {
    v1::LayerMasks* masks = message.add_layers();
    for (const Bitmask& group : layer.attention) masks->add_attention(group.bytes());
    masks->set_mlp(layer.mlp.bytes());
  }
  return message;
}

TokenSequences TinySequences(int64_t count, int32_t seed) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count * 8; ++i) {
    tokens.push_back(static_cast<int32_t>((i * 7 + seed) % 32));
  }
  return MakeTokenSequences(8, std::move(tokens));
}

v1::DataSet ToMessage(const TokenSequences& sequences) {
  v1::DataSet message;
  message.set_hash(sequences.hash);
  message.set_sequence_length(sequences.sequence_length);
  message.mutable_tokens()->Add(sequences.tokens.begin(), sequences.tokens.end());
  return message;
}

}  // namespace espalier
