#include "client/testing/small_model.h"

#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "common/file.h"
#include "common/model_folder.h"
#include "common/rng.h"
#include "common/safetensors.h"
#include "common/subnet.h"
#include "common/testing/model_files.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace espalier {
namespace {

// GPT-2's spelling of a byte in tokenizer.json: printable Latin-1 characters stand for themselves,
// the others for U+0100 and on, in order (openai/gpt-2, encoder.py, bytes_to_unicode).
std::string ByteToken(int byte) {
  const auto printable = [](int b) {
    return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
  };
  int code = byte;
  if (!printable(byte)) {
    code = 0x100;
    for (int b = 0; b < byte; ++b) code += printable(b) ? 0 : 1;
  }
  if (code < 0x80) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
}

nlohmann::json TokenizerJson() {
  nlohmann::json vocabulary = nlohmann::json::object();
  for (int byte = 0; byte < 256; ++byte) vocabulary[ByteToken(byte)] = byte;
  return ByteLevelTokenizerJson(vocabulary);
}

// Ones for norms, otherwise uniform with the standard deviation that keeps activations near one.
std::string TensorBytes(const TensorSpec& tensor, RandomStream& random) {
  const double spread = std::sqrt(3.0 / static_cast<double>(tensor.shape.back()));
  std::string bytes;
  for (int64_t i = 0; i < tensor.ByteSize(); i += 2) {
    const double draw = (2 * random.Uniform() - 1) * spread;
    const auto value = static_cast<float>(tensor.shape.size() == 1 ? 1 : draw);
    const uint32_t word = std::bit_cast<uint32_t>(value) >> 16;  // bfloat16
    bytes += static_cast<char>(word & 0xFF);
    bytes += static_cast<char>(word >> 8);
  }
  return bytes;
}

}  // namespace

ModelConfig SmallConfig() {
  ModelConfig config;
  config.num_layers = 6;  // enough that one step of a module is less than the tolerance
  config.hidden_size = 64;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 16;
  config.intermediate_size = 256;
  config.vocab_size = 256;
  config.max_position_embeddings = 128;
  config.tie_word_embeddings = true;
  return config;
}

void WriteSmallModel(const std::filesystem::path& folder, uint64_t seed) {
  const ModelConfig config = SmallConfig();
  const auto tensors = ExpectedTensors(config, Subnet::Dense(config), DType::kBFloat16);
  RandomStream random(seed, RandomPurpose::kTest, 0, 0);
  std::string file = SafetensorsHeader(tensors, {{"format", "pt"}});
  for (const TensorSpec& tensor : tensors) file += TensorBytes(tensor, random);
  nlohmann::json json = ConfigJson(config);
  json["torch_dtype"] = "bfloat16";
  WriteTestFile(folder / "config.json", json.dump(2));
  WriteTestFile(folder / "tokenizer.json", TokenizerJson().dump());
  WriteTestFile(folder / "model.safetensors", file);
}

std::string SomeText(int64_t bytes, uint64_t seed) {
  RandomStream random(seed, RandomPurpose::kTest, 0, 1);
  std::string text;
  while (static_cast<int64_t>(text.size()) < bytes) {
    for (uint64_t syllables = 1 + random.Below(3); syllables > 0; --syllables) {
      text += "bdfgklmnprstvz"[random.Below(14)];
      text += "aeiou"[random.Below(5)];
    }
    text += random.Below(10) == 0 ? ".\n" : " ";
  }
  return text;
}

void WriteTestFile(const std::filesystem::path& path, const std::string& contents) {
  std::filesystem::create_directories(path.parent_path());
  const absl::Status status = WriteFileAtomically(path, contents);
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  std::abort();
}

std::filesystem::path NewTestFolder(const std::string& name) {
  std::filesystem::path folder = std::filesystem::path(::testing::TempDir()) / name;
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

}  // namespace espalier
