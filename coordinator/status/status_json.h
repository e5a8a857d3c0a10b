// The answers of the status endpoint as JSON (docs/status.md lists the fields). Pure.
#ifndef ESPALIER_COORDINATOR_STATUS_STATUS_JSON_H_
#define ESPALIER_COORDINATOR_STATUS_STATUS_JSON_H_

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "coordinator/status/source.h"

namespace espalier {

nlohmann::json StatusJson(const StatusSnapshot& snapshot);
nlohmann::json JobJson(const JobDetail& detail);
nlohmann::json ErrorJson(std::string_view message);

// On one line. Bytes that are no UTF-8 become U+FFFD: names of files may be anything.
std::string JsonText(const nlohmann::json& json);

std::string_view JobStateName(JobState state);  // "queued", ...

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_STATUS_STATUS_JSON_H_
