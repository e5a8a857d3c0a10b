#include "coordinator/jobs/choose_stages.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "common/plan/job_plan.h"

namespace espalier {
namespace {

// What every worker has at least.
DeviceSpec SmallestOf(const std::vector<WorkerInfo>& workers) {
  DeviceSpec device;
  device.memory = kNoByteLimit;
  device.gpu = true;
  for (const WorkerInfo& worker : workers) {
    // A worker that does not know its memory does not limit anything.
    if (worker.memory_bytes > 0) device.memory = std::min(device.memory, worker.memory_bytes);
    device.gpu = device.gpu && absl::StartsWith(worker.device, "cuda");
    device.threads = std::max(device.threads, static_cast<int>(worker.threads));
  }
  // Rates do not matter for where to cut; zero would make times infinite.
  device.float32_flops = device.bfloat16_flops = device.float64_flops = 1;
  return device;
}

}  // namespace

std::vector<StageRange> SplitFor(const ModelConfig& config, const JobSpec& spec,
                                 const std::vector<WorkerInfo>& workers) {
  PlanOptions options{.device = SmallestOf(workers),
                      .devices = static_cast<int64_t>(workers.size()),
                      .stages = spec.stages};
  const absl::StatusOr<JobPlan> plan = PlanJob(config, spec, options);
  // Cannot fail for 1 ≤ stages ≤ layers; a whole model is the safe answer.
  if (!plan.ok()) return {WholeModel(config)};
  std::vector<StageRange> split;
  for (const StagePlan& stage : plan->stages) split.push_back(stage.layers);
  return split;
}

}  // namespace espalier
