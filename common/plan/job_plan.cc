#include "common/plan/job_plan.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/plan/job_memory.h"
#include "common/plan/model_cost.h"
#include "common/status_macros.h"
#include "common/subnet.h"

namespace espalier {
namespace {

constexpr int64_t kExportBytes = 2;  // a weight, as in most dense models' files

int64_t CandidateSequences(const JobSpec& spec) {
  return spec.method == SearchMethod::kPaper
             ? spec.search.sequences
             : std::min(spec.allocation.sequences, spec.allocation.offspring_sequences);
}

class Planner {
 public:
  Planner(const ModelConfig& config, const JobSpec& spec, const PlanOptions& options)
      : config_(config),
        spec_(spec),
        options_(options),
        device_(options.device),
        sizes_(TargetSpecs(spec)),
        memory_(MemoryOf(config, spec, options.device)),
        sequences_(CandidateSequences(spec)),
        length_(spec.search_sequence_length()) {
    for (const JobSpec& size : sizes_) share_ = std::max(share_, UniformShare(config, size.ratio));
  }

  absl::StatusOr<JobPlan> Plan();

 private:
  StageProblem Problem(int64_t stages) const;
  bool Fits(int64_t stages) const {
    return SplitIntoStages(Problem(stages), stages, device_.memory).ok();
  }
  int64_t SmallestStages() const;
  absl::Status Divide(JobPlan* plan) const;
  StagePlan Stage(const StageRange& range, int64_t stages) const;
  void PlanTimes(JobPlan* plan) const;
  void PlanResult(JobPlan* plan) const;

  double CandidateFlops(double share) const {
    return static_cast<double>(sequences_) *
           (static_cast<double>(config_.num_layers) * LayerFlops(config_, length_, share) +
            HeadFlops(config_, length_));
  }

  const ModelConfig& config_;
  const JobSpec& spec_;
  const PlanOptions& options_;
  const DeviceSpec& device_;
  const std::vector<JobSpec> sizes_;
  const JobMemory memory_;
  const int64_t sequences_;  // of a candidate
  const int64_t length_;
  double share_ = 0;  // of the largest size
};

StageProblem Planner::Problem(int64_t stages) const {
  const auto sequences = static_cast<double>(sequences_);
  StageProblem problem;
  problem.layers.assign(config_.num_layers,
                        {.bytes = LayerBytes(config_, spec_.precision) + memory_.layer,
                         .work = sequences * LayerFlops(config_, length_, share_)});
  const int64_t embedding = EmbeddingBytes(config_, spec_.precision);
  problem.head.bytes = embedding;
  // A tied head is the embedding, unless it stands on another device.
  const bool shared = config_.tie_word_embeddings && stages == 1;
  problem.tail.bytes = FinalNormBytes(config_) + memory_.tail + (shared ? 0 : embedding);
  problem.tail.work = sequences * HeadFlops(config_, length_);
  problem.every.bytes = memory_.stage + memory_.working;
  return problem;
}

int64_t Planner::SmallestStages() const {
  if (!Fits(config_.num_layers)) return 0;
  for (int64_t stages = 1;; ++stages) {
    if (Fits(stages)) return stages;
  }
}

StagePlan Planner::Stage(const StageRange& range, int64_t stages) const {
  const StageLoad load = LoadOf(Problem(stages), range);
  StagePlan stage;
  stage.layers = range;
  stage.statistics =
      range.count * memory_.layer + memory_.stage + (HoldsHead(range, config_) ? memory_.tail : 0);
  stage.working = memory_.working;
  stage.weights = load.bytes - stage.statistics - stage.working;
  stage.candidate_flops = load.work;
  if (device_.gpu) stage.host = range.count * memory_.host_layer;
  return stage;
}

absl::Status Planner::Divide(JobPlan* plan) const {
  plan->smallest_stages = SmallestStages();
  int64_t stages = options_.stages;
  if (stages == 0) {
    const bool enough = plan->smallest_stages > 0 && plan->smallest_stages <= options_.devices;
    stages = enough ? plan->smallest_stages : std::min(options_.devices, config_.num_layers);
  }
  const StageProblem problem = Problem(stages);
  auto ranges = SplitIntoStages(problem, stages, device_.memory);
  plan->fits_memory = ranges.ok();
  if (!ranges.ok()) {
    ESPALIER_ASSIGN_OR_RETURN(ranges, SplitIntoStages(problem, stages));
  }
  for (const StageRange& range : *ranges) plan->stages.push_back(Stage(range, stages));
  plan->replicas = options_.devices / stages;
  plan->fits_devices = plan->replicas > 0;
  return absl::OkStatus();
}

void Planner::PlanTimes(JobPlan* plan) const {
  std::vector<StageRange> ranges;
  for (const StagePlan& stage : plan->stages) ranges.push_back(stage.layers);
  const PhasedJob job{.config = config_,
                      .sizes = sizes_,
                      .eval_sequences = options_.eval_sequences,
                      .scratch = options_.scratch,
                      .pace = Pace(device_, spec_.precision, ranges, plan->replicas)};
  SearchFigures search;
  plan->phases = PhasesOf(job, &search);
  for (const PhasePlan& phase : plan->phases) plan->seconds += phase.seconds;
  plan->candidates = search.candidates;
  plan->candidate_tokens = search.tokens;
  plan->candidate_seconds = search.candidate_seconds;
  plan->candidates_per_hour = search.candidates_per_hour;
}

void Planner::PlanResult(JobPlan* plan) const {
  for (const SizePlan& size : plan->sizes) {
    plan->compact_bytes += static_cast<int64_t>(size.parameters) * kExportBytes;
    plan->padded_bytes += plan->dense_parameters * kExportBytes;
  }
  plan->fits_disk =
      options_.free_disk == 0 || plan->compact_bytes + plan->padded_bytes <= options_.free_disk;
}

absl::StatusOr<JobPlan> Planner::Plan() {
  JobPlan plan;
  plan.dense_parameters = DenseParameters(config_);
  for (const JobSpec& size : sizes_) {
    plan.sizes.push_back({.ratio = size.ratio,
                          .parameters = size.ratio * static_cast<double>(plan.dense_parameters),
                          .share = UniformShare(config_, size.ratio)});
  }
  ESPALIER_RETURN_IF_ERROR(Divide(&plan));
  plan.candidate_sequences = sequences_;
  plan.candidate_length = length_;
  plan.dense_candidate_flops = CandidateFlops(1);
  plan.candidate_flops = CandidateFlops(share_);
  PlanTimes(&plan);
  PlanResult(&plan);
  return plan;
}

}  // namespace

int64_t JobPlan::LargestStage() const {
  int64_t largest = 0;
  for (const StagePlan& stage : stages) largest = std::max(largest, stage.needed());
  return largest;
}

absl::StatusOr<JobPlan> PlanJob(const ModelConfig& config, const JobSpec& spec,
                                const PlanOptions& options) {
  if (IsBaseline(spec.method)) {
    return absl::UnimplementedError(
        absl::StrCat("jobs of method ", std::string(SearchMethodName(spec.method)),
                     " are not planned: they take what one of method paper takes, but for its "
                     "search; plan that"));
  }
  return Planner(config, spec, options).Plan();
}

std::vector<std::string> PlanAdvice(const ModelConfig& config, const JobSpec& spec,
                                    const PlanOptions& options, const JobPlan& plan) {
  std::vector<std::string> advice;
  if (!plan.fits_disk) advice.push_back("choose an output folder on a disk with more room");
  if (plan.fits_memory && plan.fits_devices) return advice;
  const auto fits = [&](const JobSpec& changed, const PlanOptions& with) {
    const auto other = PlanJob(config, changed, with);
    return other.ok() && other->fits_memory && other->fits_devices;
  };
  if (!plan.fits_memory && spec.precision == Precision::kFloat32) {
    JobSpec narrow = spec;
    narrow.precision = Precision::kBFloat16;
    advice.push_back(absl::StrCat("use precision bfloat16", fits(narrow, options)
                                                                ? "; that alone makes it fit"
                                                                : "; that halves the weights"));
  }
  if (!plan.fits_memory && !options.device.gpu && options.device.threads > 1) {
    PlanOptions few = options;
    few.device.threads = 1;
    if (fits(spec, few)) {
      advice.push_back("use fewer threads (--threads 1 fits): each factorises a matrix of its own");
    }
  }
  if (plan.smallest_stages == 0) {
    advice.push_back("use devices with more memory: not even one layer a stage fits");
  } else if (plan.smallest_stages > static_cast<int64_t>(plan.stages.size()) ||
             !plan.fits_devices) {
    const std::string count = absl::StrCat(plan.smallest_stages);
    advice.push_back(plan.smallest_stages == 1 ? "use one stage: a device holds the whole model"
                                               : absl::StrCat("use ", count, " stages, on ", count,
                                                              " devices or a multiple of that"));
  }
  return advice;
}

}  // namespace espalier
