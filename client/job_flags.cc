#include "client/job_flags.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/job_spec.h"
#include "common/status_macros.h"
#include "common/text_format.h"

namespace espalier {
namespace {

template <typename T>
void Override(const std::optional<T>& flag, T& value) {
  if (flag) value = *flag;
}

absl::StatusOr<std::vector<double>> ParseRatios(const std::string& text) {
  std::vector<double> ratios;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    double ratio = 0;
    if (!absl::SimpleAtod(part, &ratio)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--ratio ", text, ": \"", part, "\" is no number; give one, or several: 0.9,0.8,0.7"));
    }
    ratios.push_back(ratio);
  }
  return ratios;
}

absl::Status FlagError(const char* flag, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(flag, ": ", status.message()));
}

}  // namespace

void AddJobFlags(CLI::App& command, JobFlags& flags) {
  command.add_option("job", flags.file, "Job file (YAML); flags override it")->option_text("FILE");
  command.add_option("--model", flags.model, "Folder of the dense model (config.json, ...)")
      ->option_text("DIR")
      ->group("Job");
  command.add_option("--text", flags.text, "Text for calibration and search")
      ->option_text("FILE")
      ->group("Job");
  command.add_option("--eval-text", flags.eval_text, "Held-out text for the closing table")
      ->option_text("FILE")
      ->group("Job");
  command
      .add_option("--text-format", flags.text_format,
                  "Format of both texts: plain (default) or wikitext")
      ->option_text("FORMAT")
      ->group("Job");
  command
      .add_option("--ratio", flags.ratio,
                  "Share of all parameters to keep, e.g. 0.7, or several: 0.9,0.8,0.7")
      ->option_text("R[,R...]")
      ->group("Job");
  command
      .add_option("--method", flags.method,
                  "espalier (default: sizes allocated over modules, repaired candidates) or paper; "
                  "for comparison, without a search: flap, wanda-sp, magnitude, random")
      ->option_text("METHOD")
      ->group("Job");
  command.add_option("--output", flags.output, "Result folder; must not exist yet, or be empty")
      ->option_text("DIR")
      ->group("Job");
  command.add_option("--seed", flags.seed, "Seed of every random choice (default 0)")
      ->option_text("N")
      ->group("Job");
  command.add_option("--name", flags.name, "Name for lists (default: the result folder's)")
      ->option_text("NAME")
      ->group("Job");
  command.add_option("--precision", flags.precision, "float32 (default) or bfloat16")
      ->option_text("TYPE")
      ->group("Job");
  command
      .add_option("--stages", flags.stages,
                  "Workers that hold the model together, each some of its layers (default: the "
                  "fewest whose memory it fits)")
      ->option_text("S")
      ->group("Job");
  command
      .add_option(
          "--priority", flags.priority,
          "Among a coordinator's jobs: those with a higher one come first, equal ones share "
          "the workers (-100 to 100, default 0)")
      ->option_text("N")
      ->group("Job");
  command
      .add_option("--generations", flags.generations,
                  "Generations of the search (default 24; method paper: 50)")
      ->option_text("N")
      ->group("Search effort");
  command
      .add_option("--population", flags.population,
                  "Candidates per generation of method paper (default 100), divided 50:30:20 into "
                  "mutations, "
                  "crossovers and mutations of the initial architecture")
      ->option_text("N")
      ->group("Search effort");
  command
      .add_option("--sequence-length", flags.sequence_length,
                  "Tokens per sequence (default: the model's, at most 2048)")
      ->option_text("N")
      ->group("Search effort");
  command
      .add_option("--calibration-sequences", flags.calibration_sequences,
                  "Sequences for calibration (default 128)")
      ->option_text("N")
      ->group("Search effort");
  command
      .add_option("--search-sequences", flags.search_sequences,
                  "Sequences that candidates are scored on (default 32; method paper: 5)")
      ->option_text("N")
      ->group("Search effort");
  command
      .add_option("--eval-sequences", flags.eval_sequences,
                  "Sequences for the closing table (default: the whole text)")
      ->option_text("N")
      ->group("Search effort");
}

absl::Status ApplyJobFlags(const JobFlags& flags, JobSpec& spec) {
  Override(flags.name, spec.name);
  Override(flags.model, spec.model);
  Override(flags.text, spec.text.path);
  Override(flags.eval_text, spec.eval_text.path);
  Override(flags.output, spec.output);
  if (flags.ratio) {
    ESPALIER_ASSIGN_OR_RETURN(const std::vector<double> ratios, ParseRatios(*flags.ratio));
    spec.ratio = ratios.front();
    spec.more_ratios.assign(ratios.begin() + 1, ratios.end());
  }
  Override(flags.seed, spec.seed);
  Override(flags.stages, spec.stages);
  Override(flags.priority, spec.priority);
  Override(flags.sequence_length, spec.sequence_length);
  Override(flags.calibration_sequences, spec.calibration_sequences);
  Override(flags.eval_sequences, spec.eval_sequences);
  if (flags.text_format) {
    const auto format = ParseTextFormat(*flags.text_format);
    if (!format.ok()) return FlagError("--text-format", format.status());
    spec.text.format = spec.eval_text.format = *format;
  }
  if (flags.method) {
    const auto method = ParseSearchMethod(*flags.method);
    if (!method.ok()) return FlagError("--method", method.status());
    spec.method = *method;
  }
  if (IsBaseline(spec.method) && (flags.generations || flags.population)) {
    return absl::InvalidArgumentError(absl::StrCat(
        flags.generations ? "--generations" : "--population", " is of a search, and the method ",
        std::string(SearchMethodName(spec.method)), " has none: it makes one candidate"));
  }
  // After the method: they are of whichever search the job has.
  const bool allocates = spec.method == SearchMethod::kEspalier;
  Override(flags.generations, allocates ? spec.allocation.generations : spec.search.generations);
  Override(flags.search_sequences, allocates ? spec.allocation.sequences : spec.search.sequences);
  if (flags.population && allocates) {
    return absl::InvalidArgumentError(
        "--population is of the method paper; with espalier give allocation.offspring in the job "
        "file");
  }
  if (flags.population) SetPopulation(*flags.population, spec.search);
  if (flags.precision) {
    const auto precision = ParsePrecision(*flags.precision);
    if (!precision.ok()) return FlagError("--precision", precision.status());
    spec.precision = *precision;
  }
  return absl::OkStatus();
}

void SetPopulation(int64_t population, SearchSpec& search) {
  search.mutations = (population * 50 + 50) / 100;
  search.crossovers = std::min(population - search.mutations, (population * 30 + 50) / 100);
  search.initial_mutations = population - search.mutations - search.crossovers;
}

void MakePathsAbsolute(const std::filesystem::path& directory, JobSpec& spec) {
  for (std::string* path : {&spec.model, &spec.text.path, &spec.eval_text.path, &spec.output}) {
    if (path->empty()) continue;
    // operator/ keeps a right side that is absolute already.
    *path = (directory / *path).lexically_normal().string();
  }
}

absl::StatusOr<JobSpec> MakeJobSpec(const JobFlags& flags) {
  JobSpec spec;
  if (!flags.file.empty()) {
    ESPALIER_ASSIGN_OR_RETURN(spec, ReadJobSpec(flags.file));
  }
  ESPALIER_RETURN_IF_ERROR(ApplyJobFlags(flags, spec));
  std::error_code error;
  const std::filesystem::path directory = std::filesystem::current_path(error);
  if (error) {
    return absl::FailedPreconditionError(
        absl::StrCat("the current folder cannot be read: ", error.message()));
  }
  MakePathsAbsolute(directory, spec);
  ESPALIER_RETURN_IF_ERROR(ValidateJobSpec(spec));
  return spec;
}

}  // namespace espalier
