// What a job with several sizes says of them together: quality against size, as a table and as a
// picture. Text of files in its result folder (docs/result.md).
#ifndef ESPALIER_COORDINATOR_JOBS_SIZES_REPORT_H_
#define ESPALIER_COORDINATOR_JOBS_SIZES_REPORT_H_

#include <string>

#include "coordinator/jobs/types.h"

namespace espalier {

// A header and a row for the dense model and each size: target ratio's folder, parameters, ratio,
// perplexities of the initial, searched and reformed subnet, candidates, seconds. What was not
// measured is empty. Requires a result.
std::string SizesCsv(const ResultViews& results);

// Perplexity (logarithmic) of the dense model, and of the initial and the reformed subnet of each
// size, over the share of parameters. A picture of its own, that needs neither fonts nor scripts.
// Sizes without a finite perplexity are left out. Requires a result.
std::string SizesSvg(const ResultViews& results);

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_JOBS_SIZES_REPORT_H_
