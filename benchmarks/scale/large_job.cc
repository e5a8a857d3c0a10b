#include "benchmarks/scale/large_job.h"

#include <string>

#include "common/file.h"
#include "common/status_macros.h"
#include "common/testing/model_files.h"
#include "common/testing/model_shapes.h"
#include "nlohmann/json.hpp"

namespace espalier::scale {
namespace {

namespace fs = std::filesystem;

constexpr int kLetters = 26;
constexpr int64_t kSequenceLength = 64;

// One token a letter; the text has nothing else.
nlohmann::json TokenizerJson() {
  nlohmann::json vocabulary;
  for (int i = 0; i < kLetters; ++i) vocabulary[std::string(1, static_cast<char>('a' + i))] = i;
  return ByteLevelTokenizerJson(vocabulary);
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
  ESPALIER_RETURN_IF_ERROR(WriteFileAtomically(
      model / "config.json", ConfigJson(options.small ? SmolLm2() : Llama65B()).dump()));
  ESPALIER_RETURN_IF_ERROR(WriteFileAtomically(model / "tokenizer.json", TokenizerJson().dump()));
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
