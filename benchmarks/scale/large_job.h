// A job on a model of LLaMA-65B's shape without its 130 GB: of a model's folder the coordinator
// reads config.json and the tokenizer; weights are the workers' business, and these have none.
#ifndef ESPALIER_BENCHMARKS_SCALE_LARGE_JOB_H_
#define ESPALIER_BENCHMARKS_SCALE_LARGE_JOB_H_

#include <cstdint>
#include <filesystem>

#include "absl/status/status.h"
#include "common/job_spec.h"

namespace espalier::scale {

struct LargeJobOptions {
  bool small = false;  // the shape of SmolLM2-135M instead
  int64_t population = 0;
  int64_t generations = 0;
};

// Writes model/ and text.txt into `folder`, and returns a job on them with the paper's proportions
// of mutations and crossovers. Its result would go to `folder`/result.
absl::StatusOr<JobSpec> MakeLargeJob(const std::filesystem::path& folder,
                                     const LargeJobOptions& options);

}  // namespace espalier::scale

#endif  // ESPALIER_BENCHMARKS_SCALE_LARGE_JOB_H_
