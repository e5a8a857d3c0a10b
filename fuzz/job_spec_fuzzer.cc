#include <string>

#include "absl/status/statusor.h"
#include "common/job_spec.h"
#include "common/status_macros.h"
#include "fuzz/check.h"
#include "fuzz/targets.h"

namespace espalier::fuzz {
namespace {

constexpr std::string_view kSource = "folder/job.yaml";

absl::Status CheckResolved(const JobSpec& spec) {
  const absl::StatusOr<JobSpec> resolved = ResolveDefaults(spec, TinyConfig());
  if (!resolved.ok()) return absl::OkStatus();
  ESPALIER_RETURN_IF_ERROR(
      Require(ValidateJobSpec(*resolved).ok(), "a resolved specification is valid"));
  const absl::StatusOr<JobSpec> again = ResolveDefaults(*resolved, TinyConfig());
  return Require(again.ok() && JobSpecToYaml(*again) == JobSpecToYaml(*resolved),
                 "a resolved specification has nothing left to resolve");
}

}  // namespace

absl::Status JobSpecYaml(std::string_view input) {
  const absl::StatusOr<JobSpec> spec = ParseJobSpec(input, kSource);
  if (!spec.ok()) return RequireNames(spec.status(), kSource);
  const std::string yaml = JobSpecToYaml(*spec);
  const absl::StatusOr<JobSpec> again = ParseJobSpec(yaml, kSource);
  if (!again.ok()) return again.status();
  ESPALIER_RETURN_IF_ERROR(
      Require(JobSpecToYaml(*again) == yaml, "a written specification reads back the same"));
  return ValidateJobSpec(*spec).ok() ? CheckResolved(*spec) : absl::OkStatus();
}

}  // namespace espalier::fuzz
