// The small files of a result folder (docs/result.md), as text.
//
// subnet.json has no time, host or output path in it: two runs of one job, whatever their workers,
// write the same bytes. What differs from run to run is in report.json.
#ifndef ESPALIER_COORDINATOR_JOBS_RESULT_FILES_H_
#define ESPALIER_COORDINATOR_JOBS_RESULT_FILES_H_

#include <string>
#include <vector>

#include "coordinator/jobs/types.h"
#include "coordinator/search/search.h"

namespace espalier {

struct PhaseSeconds {
  std::string phase;  // "load", "calibrate", …
  double seconds = 0;
};

std::string_view PhaseName(JobPhase phase);

// The specification without the name and the output of this run, so that the same job gives the
// same bytes wherever it is written to: job.yaml. `espalier run job.yaml --output DIR` repeats it.
std::string PortableSpec(JobSpec spec);

// Masks, sizes per layer and provenance. `model_hash` as ModelHash.
std::string SubnetJson(const PreparedJob& job, const std::string& model_hash,
                       const ScoredCandidate& best);

// The closing table, how long each phase took, and what reformation did to each linear. Infinite
// values become null.
std::string ReportJson(const ResultView& result, const std::vector<PhaseSeconds>& phases,
                       const std::vector<LinearFit>& fits);

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_JOBS_RESULT_FILES_H_
