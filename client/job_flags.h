// The flags with which `run` and `submit` make or change a job.
#ifndef ESPALIER_CLIENT_JOB_FLAGS_H_
#define ESPALIER_CLIENT_JOB_FLAGS_H_

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "CLI/App.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/job_spec.h"

namespace espalier {

// What was given on the command line; what was not leaves the job file's value.
struct JobFlags {
  std::string file;  // the job file; empty: flags alone
  std::optional<std::string> name;
  std::optional<std::string> model;
  std::optional<std::string> text;
  std::optional<std::string> eval_text;
  std::optional<std::string> text_format;  // of both texts
  std::optional<std::string> precision;
  std::optional<std::string> output;
  std::optional<std::string> ratio;  // of one size, or of several with commas between
  std::optional<uint64_t> seed;
  std::optional<int64_t> stages;
  std::optional<int64_t> priority;
  std::optional<int64_t> generations;
  std::optional<int64_t> population;
  std::optional<int64_t> sequence_length;
  std::optional<std::string> method;
  std::optional<int64_t> calibration_sequences;
  std::optional<int64_t> search_sequences;
  std::optional<int64_t> eval_sequences;
};

// Declares the flags; `flags` must live until the command line was parsed.
void AddJobFlags(CLI::App& command, JobFlags& flags);

// Puts the flags on top of `spec`.
absl::Status ApplyJobFlags(const JobFlags& flags, JobSpec& spec);

// Divides one generation in the paper's proportion 50 : 30 : 20 of mutations, crossovers and
// mutations of the initial architecture. The sum is `population`.
void SetPopulation(int64_t population, SearchSpec& search);

// Relative paths become absolute, seen from `directory`: the coordinator runs elsewhere.
void MakePathsAbsolute(const std::filesystem::path& directory, JobSpec& spec);

// The job that the user asked for: file, flags, absolute paths, validated. An error is the user's.
absl::StatusOr<JobSpec> MakeJobSpec(const JobFlags& flags);

}  // namespace espalier

#endif  // ESPALIER_CLIENT_JOB_FLAGS_H_
