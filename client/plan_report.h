// A plan as people and scripts read it. Pure.
#ifndef ESPALIER_CLIENT_PLAN_REPORT_H_
#define ESPALIER_CLIENT_PLAN_REPORT_H_

#include <string>
#include <vector>

#include "common/job_spec.h"
#include "common/model_config.h"
#include "common/plan/job_plan.h"
#include "nlohmann/json.hpp"

namespace espalier {

// A plan and what it was made from.
struct PlannedJob {
  ModelConfig config;
  JobSpec spec;  // resolved
  PlanOptions options;
  JobPlan plan;
  std::vector<std::string> advice;
};

// Tables of stages and phases, then the verdict with what to change.
std::string PlanReport(const PlannedJob& job);

// Bytes, operations and seconds as plain numbers.
nlohmann::ordered_json PlanToJson(const PlannedJob& job);

}  // namespace espalier

#endif  // ESPALIER_CLIENT_PLAN_REPORT_H_
