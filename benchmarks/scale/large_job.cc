#include "benchmarks/scale/large_job.h"

#include <string>

#include "common/file.h"
#include "common/status_macros.h"
#include "nlohmann/json.hpp"

namespace espalier::scale {
namespace {

namespace fs = std::filesystem;

std::string ConfigJson(bool small) {
  const nlohmann::json config = {{"architectures", {"LlamaForCausalLM"}},
                                 {"model_type", "llama"},
                                 {"hidden_act", "silu"},
                                 {"hidden_size", small ? 576 : 8192},
                                 {"intermediate_size", small ? 1536 : 22016},
                                 {"max_position_embeddings", 2048},
                                 {"num_attention_heads", small ? 9 : 64},
                                 {"num_hidden_layers", small ? 30 : 80},
                                 {"num_key_value_heads", small ? 3 : 64},
                                 {"rms_norm_eps", 1e-5},
                                 {"rope_theta", 10000.0},
                                 {"tie_word_embeddings", small},
                                 {"vocab_size", small ? 49152 : 32000}};
  return config.dump();
}

constexpr int kLetters = 26;
constexpr int64_t kSequenceLength = 64;

// One token a letter; the text has nothing else.
std::string TokenizerJson() {
  nlohmann::json vocab;
  for (int i = 0; i < kLetters; ++i) vocab[std::string(1, static_cast<char>('a' + i))] = i;
  const nlohmann::json tokenizer = {{"version", "1.0"},
                                    {"added_tokens", nlohmann::json::array()},
                                    {"normalizer", nullptr},
                                    {"pre_tokenizer",
                                     {{"type", "ByteLevel"},
                                      {"add_prefix_space", false},
                                      {"trim_offsets", true},
                                      {"use_regex", true}}},
                                    {"post_processor", nullptr},
                                    {"decoder", nullptr},
                                    {"model",
                                     {{"type", "BPE"},
                                      {"dropout", nullptr},
                                      {"unk_token", nullptr},
                                      {"continuing_subword_prefix", nullptr},
                                      {"end_of_word_suffix", nullptr},
                                      {"fuse_unk", false},
                                      {"byte_fallback", false},
                                      {"vocab", vocab},
                                      {"merges", nlohmann::json::array()}}}};
  return tokenizer.dump();
}

std::string Text() {
  std::string text;
  for (int i = 0; i < 64 * kSequenceLength; ++i) {
    text += static_cast<char>('a' + (i * i + i / kLetters) % kLetters);
  }
  return text;
}

}  // namespace

absl::StatusOr<JobSpec> MakeLargeJob(const fs::path& folder, const LargeJobOptions& options) {
  const fs::path model = folder / "model";
  fs::create_directories(model);
  ESPALIER_RETURN_IF_ERROR(WriteFileAtomically(model / "config.json", ConfigJson(options.small)));
  ESPALIER_RETURN_IF_ERROR(WriteFileAtomically(model / "tokenizer.json", TokenizerJson()));
  ESPALIER_RETURN_IF_ERROR(WriteFileAtomically(folder / "text.txt", Text()));
  JobSpec spec;
  spec.method = SearchMethod::kPaper;
  spec.name = "scale";
  spec.model = model.string();
  spec.precision = Precision::kBFloat16;
  spec.text.path = (folder / "text.txt").string();
  spec.output = (folder / "result").string();
  spec.ratio = 0.7;
  spec.sequence_length = kSequenceLength;
  spec.calibration_sequences = 8;
  spec.stages = 1;
  spec.search.generations = options.generations;
  spec.search.crossovers = options.population * 3 / 10;
  spec.search.initial_mutations = options.population * 2 / 10;
  spec.search.mutations =
      options.population - spec.search.crossovers - spec.search.initial_mutations;
  return spec;
}

}  // namespace espalier::scale
