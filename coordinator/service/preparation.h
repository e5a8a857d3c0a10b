// What a job needs before any worker can start: a checked specification and tokenised texts.
#ifndef ESPALIER_COORDINATOR_SERVICE_PREPARATION_H_
#define ESPALIER_COORDINATOR_SERVICE_PREPARATION_H_

#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/job_spec.h"
#include "common/path_roots.h"
#include "common/text.h"
#include "coordinator/jobs/types.h"

namespace espalier {

// Where the files that jobs name must lie.
struct JobRoots {
  PathRoots models{};   // models and texts
  PathRoots outputs{};  // results
};

// Parses and validates what a client submitted, makes its paths absolute, and looks at the files as
// far as that takes no time: the model's config, the tokenizer's and the texts' existence. Errors
// say which key to change. A path outside `roots` is PERMISSION_DENIED before anything looks there.
absl::StatusOr<JobSpec> CheckSubmission(const std::string& spec_yaml, const JobRoots& roots = {});

using DataSets = std::map<std::string, std::shared_ptr<const TokenSequences>>;  // by hash

struct Preparation {
  PreparedJob job;
  DataSets data_sets;
};

// Reads the model's config and tokenizer, tokenises the texts and draws the sequences. Takes as
// long as tokenising does. Looks at the roots once more: time has passed since the submission.
absl::StatusOr<Preparation> PrepareTexts(const JobSpec& spec, const JobRoots& roots = {});

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_SERVICE_PREPARATION_H_
