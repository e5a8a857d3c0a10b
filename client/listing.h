// Jobs and workers as tables for people and JSON for scripts. Pure.
#ifndef ESPALIER_CLIENT_LISTING_H_
#define ESPALIER_CLIENT_LISTING_H_

#include <string>

#include "espalier/v1/jobs.pb.h"
#include "nlohmann/json.hpp"

namespace espalier {

// One row a job, in the coordinator's order; a line that says so when there are none.
std::string JobsTable(const v1::ListJobsResponse& jobs);
std::string WorkersTable(const v1::ListWorkersResponse& workers);
// Everything about one job, a field a line, then its specification.
std::string JobDetails(const v1::Job& job);

// {"id", "name", "state", "phase", "progress": {...}, "error", "output", "created_unix_ms",
// "finished_unix_ms", "spec", "result"}; what does not apply is null.
nlohmann::ordered_json JobToJson(const v1::Job& job);
nlohmann::ordered_json WorkerToJson(const v1::Worker& worker);
nlohmann::ordered_json EventToJson(const v1::JobEvent& event);
nlohmann::ordered_json JobsToJson(const v1::ListJobsResponse& jobs);           // {"jobs": [...]}
nlohmann::ordered_json WorkersToJson(const v1::ListWorkersResponse& workers);  // {"workers": ...}

}  // namespace espalier

#endif  // ESPALIER_CLIENT_LISTING_H_
