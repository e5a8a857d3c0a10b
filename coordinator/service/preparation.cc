#include "coordinator/service/preparation.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/file.h"
#include "common/model_folder.h"
#include "common/rng.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "common/tokenizer.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

// A token takes at most 3 bytes in a message for vocabularies below 2^21; messages end at 64 MiB.
constexpr int64_t kMostTokens = 20'000'000;

absl::Status Annotate(const absl::Status& status, std::string_view key) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(std::string(key), ": ", status.message()));
}

absl::Status MakeAbsolute(std::string& path) {
  if (path.empty()) return absl::OkStatus();
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error);
  if (error) {
    return absl::UnavailableError(
        absl::StrCat(path, ": cannot be made absolute: ", error.message()));
  }
  path = absolute.lexically_normal().string();
  return absl::OkStatus();
}

absl::Status CheckInputRoots(const JobSpec& spec, const PathRoots& roots) {
  ESPALIER_RETURN_IF_ERROR(Annotate(roots.CheckFolder(spec.model), "model"));
  ESPALIER_RETURN_IF_ERROR(Annotate(roots.Check(spec.text.path).status(), "text"));
  if (spec.eval_text.path.empty()) return absl::OkStatus();
  return Annotate(roots.Check(spec.eval_text.path).status(), "eval_text");
}

absl::Status CheckText(const TextSpec& text) {
  return text.path.empty() ? absl::OkStatus() : MappedFile::Open(text.path).status();
}

absl::Status CheckTokenizerExists(const fs::path& model) {
  std::error_code ignored;
  if (fs::exists(model / "tokenizer.json", ignored) ||
      fs::exists(model / "tokenizer.model", ignored)) {
    return absl::OkStatus();
  }
  return LoadTokenizer(model).status();
}

absl::StatusOr<std::string> FileHash(const std::string& path) {
  ESPALIER_ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> file, MappedFile::Open(path));
  return Sha256Hex(file->bytes());
}

absl::StatusOr<std::vector<int32_t>> Tokenize(const Tokenizer& tokenizer, const TextSpec& text,
                                              const ModelConfig& config) {
  ESPALIER_ASSIGN_OR_RETURN(std::vector<int32_t> ids,
                            TokenizeFile(tokenizer, text.path, text.format));
  for (const int32_t id : ids) {
    if (id >= 0 && id < config.vocab_size) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "the tokenizer makes token ", id, " of ", text.path, ", but the model's vocabulary has ",
        config.vocab_size, " tokens; the model folder's tokenizer is not the model's"));
  }
  return ids;
}

absl::StatusOr<DataSetInfo> Keep(TokenSequences sequences, DataSets& data_sets) {
  if (static_cast<int64_t>(sequences.tokens.size()) > kMostTokens) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a data set of ", sequences.tokens.size(), " tokens is more than the ", kMostTokens,
        " that a message can carry; ask for fewer sequences (calibration.sequences, "
        "eval_text.sequences)"));
  }
  const DataSetInfo info{.hash = sequences.hash,
                         .sequence_length = sequences.sequence_length,
                         .count = sequences.count()};
  data_sets.emplace(info.hash, std::make_shared<const TokenSequences>(std::move(sequences)));
  return info;
}

absl::Status PrepareTraining(const Tokenizer& tokenizer, Preparation& preparation) {
  PreparedJob& job = preparation.job;
  const JobSpec& spec = job.spec;
  ESPALIER_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                            Tokenize(tokenizer, spec.text, job.config));
  const auto sample = [&](int64_t length, int64_t count, RandomPurpose purpose) {
    return SampleSequences(ids, length, count, spec.seed, static_cast<uint32_t>(purpose),
                           spec.text.path);
  };
  ESPALIER_ASSIGN_OR_RETURN(
      TokenSequences calibration,
      sample(spec.sequence_length, spec.calibration_sequences, RandomPurpose::kCalibrationSample));
  ESPALIER_ASSIGN_OR_RETURN(
      TokenSequences search,
      sample(spec.search_sequence_length(), spec.search_sequences(), RandomPurpose::kSearchSample));
  ESPALIER_ASSIGN_OR_RETURN(job.calibration, Keep(std::move(calibration), preparation.data_sets));
  ESPALIER_ASSIGN_OR_RETURN(job.search, Keep(std::move(search), preparation.data_sets));
  ESPALIER_ASSIGN_OR_RETURN(job.text_hash, FileHash(spec.text.path));
  job.eval = job.search;
  return absl::OkStatus();
}

absl::Status PrepareEvaluation(const Tokenizer& tokenizer, Preparation& preparation) {
  PreparedJob& job = preparation.job;
  const JobSpec& spec = job.spec;
  if (spec.eval_text.path.empty()) return absl::OkStatus();
  ESPALIER_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                            Tokenize(tokenizer, spec.eval_text, job.config));
  ESPALIER_ASSIGN_OR_RETURN(
      TokenSequences eval,
      FirstSequences(ids, spec.sequence_length, spec.eval_sequences, spec.eval_text.path));
  ESPALIER_ASSIGN_OR_RETURN(job.eval, Keep(std::move(eval), preparation.data_sets));
  ESPALIER_ASSIGN_OR_RETURN(job.eval_text_hash, FileHash(spec.eval_text.path));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<JobSpec> CheckSubmission(const std::string& spec_yaml, const JobRoots& roots) {
  ESPALIER_ASSIGN_OR_RETURN(JobSpec spec, ParseJobSpec(spec_yaml, "job"));
  ESPALIER_RETURN_IF_ERROR(ValidateJobSpec(spec));
  for (std::string* path : {&spec.model, &spec.text.path, &spec.eval_text.path, &spec.output}) {
    ESPALIER_RETURN_IF_ERROR(MakeAbsolute(*path));
  }
  ESPALIER_RETURN_IF_ERROR(CheckInputRoots(spec, roots.models));
  ESPALIER_RETURN_IF_ERROR(Annotate(roots.outputs.Check(spec.output).status(), "output"));
  const absl::StatusOr<ModelConfig> config = ReadModelConfig(spec.model);
  ESPALIER_RETURN_IF_ERROR(Annotate(config.status(), "model"));
  ESPALIER_ASSIGN_OR_RETURN(spec, ResolveDefaults(spec, *config));
  ESPALIER_RETURN_IF_ERROR(Annotate(CheckTokenizerExists(spec.model), "model"));
  ESPALIER_RETURN_IF_ERROR(Annotate(CheckText(spec.text), "text"));
  ESPALIER_RETURN_IF_ERROR(Annotate(CheckText(spec.eval_text), "eval_text"));
  return spec;
}

absl::StatusOr<Preparation> PrepareTexts(const JobSpec& spec, const JobRoots& roots) {
  Preparation preparation;
  ESPALIER_RETURN_IF_ERROR(CheckInputRoots(spec, roots.models));
  ESPALIER_ASSIGN_OR_RETURN(preparation.job.config, ReadModelConfig(spec.model));
  ESPALIER_ASSIGN_OR_RETURN(preparation.job.spec, ResolveDefaults(spec, preparation.job.config));
  ESPALIER_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, LoadTokenizer(spec.model));
  ESPALIER_RETURN_IF_ERROR(PrepareTraining(*tokenizer, preparation));
  ESPALIER_RETURN_IF_ERROR(PrepareEvaluation(*tokenizer, preparation));
  return preparation;
}

}  // namespace espalier
