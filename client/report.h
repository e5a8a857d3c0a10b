// What a finished job hands over: the closing table for people, one JSON object for scripts. Pure.
#ifndef ESPALIER_CLIENT_REPORT_H_
#define ESPALIER_CLIENT_REPORT_H_

#include <string>

#include "common/job_spec.h"
#include "espalier/v1/jobs.pb.h"
#include "nlohmann/json.hpp"

namespace espalier {

// Dense, initial, searched and reformed with parameters, ratio, perplexity and speed; on which text
// the perplexities are; where the result lies and what to do with it. Ends with a newline. `spec`
// is the job's (docs/job.md).
std::string ClosingReport(const v1::Result& result, const JobSpec& spec);

// The same of a job with several sizes: a row for the dense model and for each size that is
// finished. Of one with one size, as above. Requires a result.
std::string ClosingReport(const v1::Job& job, const JobSpec& spec);

// {"dense": {"parameters", "ratio", "perplexity", "search_perplexity", "tokens_per_second"},
//  "initial": {...}, "searched": {...}, "reformed": {...}, "output", "held_out", "candidates",
//  "seconds"}. What was not measured is null.
nlohmann::ordered_json ResultToJson(const v1::Result& result);

// As above for a job with one size; else {"sizes": [one of these for each that is finished]}.
nlohmann::ordered_json ResultToJson(const v1::Job& job);

}  // namespace espalier

#endif  // ESPALIER_CLIENT_REPORT_H_
