#include "coordinator/service/testing/tiny_folder.h"

#include <gtest/gtest.h>

#include <fstream>
#include <vector>

#include "common/model_folder.h"
#include "common/testing/model_files.h"
#include "nlohmann/json.hpp"

namespace espalier {
namespace {

namespace fs = std::filesystem;

ModelConfig Config() {
  return {.num_layers = 4,
          .hidden_size = 16,
          .num_heads = 4,
          .num_kv_heads = 2,
          .head_dim = 8,
          .intermediate_size = 48,
          .vocab_size = 32,
          .max_position_embeddings = 16,
          .tie_word_embeddings = true};
}

nlohmann::json TokenizerJson() {
  nlohmann::json vocabulary;
  for (int i = 0; i < 26; ++i) vocabulary[std::string(1, static_cast<char>('a' + i))] = i;
  vocabulary["\u0120"] = 26;  // space, in GPT-2's alphabet of bytes
  vocabulary["\u010a"] = 27;  // newline
  return ByteLevelTokenizerJson(vocabulary);
}

void Write(const fs::path& path, const std::string& contents) {
  std::ofstream file(path, std::ios::binary);
  file << contents;
  ASSERT_TRUE(file.flush().good()) << path;
}

std::string Words(int count, int step) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    for (int c = 0; c < 4; ++c) text += static_cast<char>('a' + (i * step + c * c) % 26);
    text += i % 9 == 8 ? '\n' : ' ';
  }
  return text;
}

}  // namespace

fs::path MakeTinyFolder(const std::string& name) {
  fs::path folder = fs::path(::testing::TempDir()) / name;
  fs::remove_all(folder);
  fs::create_directories(folder / "model");
  Write(folder / "model" / "config.json", ConfigJson(Config()).dump(2));
  Write(folder / "model" / "tokenizer.json", TokenizerJson().dump());
  Write(folder / "train.txt", Words(400, 7));
  Write(folder / "test.txt", Words(60, 5));
  return folder;
}

JobSpec TinyFolderJob(const fs::path& folder, const std::string& output) {
  JobSpec spec;
  spec.method = SearchMethod::kPaper;
  spec.name = "tiny";
  spec.model = folder / "model";
  spec.text.path = folder / "train.txt";
  spec.eval_text.path = folder / "test.txt";
  spec.ratio = 0.7;
  spec.tolerance = 0.02;
  spec.align_mlp = 1;
  spec.align_head_dim = 2;
  spec.output = folder / output;
  spec.calibration_sequences = 8;
  spec.search.generations = 3;
  spec.search.mutations = 4;
  spec.search.crossovers = 2;
  spec.search.initial_mutations = 1;
  spec.search.survivors = 2;
  spec.search.sequences = 2;
  return spec;
}

std::string ZeroSafetensors(const ModelConfig& config, const Subnet& subnet) {
  const std::vector<TensorSpec> tensors = ExpectedTensors(config, subnet, DType::kFloat32);
  std::string file = SafetensorsHeader(tensors, {{"format", "pt"}});
  for (const TensorSpec& tensor : tensors) file.append(tensor.ByteSize(), '\0');
  return file;
}

}  // namespace espalier
