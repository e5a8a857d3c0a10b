#include "common/plan/job_plan.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/plan/model_cost.h"
#include "common/plan/working_memory.h"
#include "common/status_macros.h"
#include "common/subnet.h"

namespace espalier {
namespace {

// The program with libtorch, and what the allocator keeps of memory that was given back: measured
// with SmolLM2-135M on two threads, 270 MiB above what the engine accounts for.
constexpr int64_t kProcessBytes = int64_t{320} << 20;
constexpr int64_t kExportBytes = 2;  // a weight, as in most dense models' files

class Planner {
 public:
  Planner(const ModelConfig& config, const JobSpec& spec, const PlanOptions& options)
      : config_(config),
        spec_(spec),
        options_(options),
        device_(options.device),
        share_(UniformShare(config, spec.ratio)) {}

  absl::StatusOr<JobPlan> Plan();

 private:
  StageProblem Problem(int64_t stages) const;
  bool Fits(int64_t stages) const {
    return SplitIntoStages(Problem(stages), stages, device_.memory).ok();
  }
  int64_t SmallestStages() const;
  absl::Status Divide(JobPlan* plan) const;
  StagePlan Stage(const StageRange& range, int64_t stages) const;
  int64_t LayerStatistics() const;
  int64_t Working() const;
  void PlanTimes(JobPlan* plan) const;
  double EvaluationFlops() const;

  // One sequence through the whole model.
  double SequenceFlops(double share) const {
    return static_cast<double>(config_.num_layers) *
               LayerFlops(config_, spec_.sequence_length, share) +
           HeadFlops(config_, spec_.sequence_length);
  }

  const ModelConfig& config_;
  const JobSpec& spec_;
  const PlanOptions& options_;
  const DeviceSpec& device_;
  const double share_;
};

int64_t Planner::LayerStatistics() const {
  // A GPU's Gram matrices go to the host before the first weights are reformed.
  return LayerGramBytes(config_) + (device_.gpu ? 0 : LayerReformedBytes(config_, share_));
}

int64_t Planner::Working() const {
  const auto evaluating = [&](bool observed) {
    return ScratchBytes(config_, spec_.precision) +
           ActivationBytes(config_, spec_.precision, device_, spec_.sequence_length, observed);
  };
  const int64_t forward = std::max(evaluating(false), evaluating(true));
  if (device_.gpu) return forward;
  return kProcessBytes +
         std::max({forward, ImportanceWorkspace(config_, device_.threads),
                   ReformationWorkspace(config_, share_, spec_.reformation, device_.threads)});
}

StageProblem Planner::Problem(int64_t stages) const {
  const auto sequences = static_cast<double>(spec_.search.sequences);
  StageProblem problem;
  problem.layers.assign(config_.num_layers,
                        {.bytes = LayerBytes(config_, spec_.precision) + LayerStatistics(),
                         .work = sequences * LayerFlops(config_, spec_.sequence_length, share_)});
  const int64_t embedding = EmbeddingBytes(config_, spec_.precision);
  problem.head.bytes = embedding;
  // A tied head is the embedding, unless it stands on another device.
  const bool shared = config_.tie_word_embeddings && stages == 1;
  problem.tail.bytes = FinalNormBytes(config_) + (shared ? 0 : embedding);
  problem.tail.work = sequences * HeadFlops(config_, spec_.sequence_length);
  problem.every.bytes = Working();
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
  stage.statistics = range.count * LayerStatistics();
  stage.working = Working();
  stage.weights = load.bytes - stage.statistics - stage.working;
  stage.candidate_flops = load.work;
  if (device_.gpu) {
    stage.host =
        range.count * LayerGramBytes(config_) +
        std::max(ImportanceWorkspace(config_, device_.threads),
                 ReformationWorkspace(config_, share_, spec_.reformation, device_.threads));
  }
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

// What the phases REFORM and EVALUATE score (coordinator/jobs/closing_table.cc).
double Planner::EvaluationFlops() const {
  const auto search = static_cast<double>(spec_.search.sequences);
  const auto eval = static_cast<double>(options_.eval_sequences);
  const bool reforms = spec_.reformation.method != ReformationMethod::kNone;
  const bool held_out = !spec_.eval_text.path.empty();
  const double reformed = reforms ? search + (held_out ? eval : 0) : 0;
  const double subnets = 2 * (held_out ? eval : search);
  const double dense = held_out ? eval + search : search;
  return (reformed + subnets) * SequenceFlops(share_) + dense * SequenceFlops(1);
}

void Planner::PlanTimes(JobPlan* plan) const {
  const double rate = device_.RateFor(spec_.precision);
  const auto stages = static_cast<double>(plan->stages.size());
  const auto replicas = static_cast<double>(std::max<int64_t>(1, plan->replicas));
  double slowest = 0;  // stage, of one candidate
  int64_t most_layers = 0;
  for (const StagePlan& stage : plan->stages) {
    slowest = std::max(slowest, stage.candidate_flops);
    most_layers = std::max(most_layers, stage.layers.count);
  }
  const auto layers = static_cast<double>(config_.num_layers);
  const double of_layers = static_cast<double>(most_layers) / layers;
  const double of_candidate = slowest / plan->candidate_flops;

  const auto sequences = static_cast<double>(spec_.calibration_sequences);
  const int64_t tokens = spec_.calibration_sequences * spec_.sequence_length;
  const auto population = static_cast<double>(spec_.search.population());
  const auto generations = static_cast<double>(spec_.search.generations);
  plan->candidate_seconds = slowest / rate;
  // A generation ends before the next one begins: devices wait for its last candidates.
  const double generation_seconds =
      (std::ceil(population / replicas) + stages - 1) * plan->candidate_seconds;
  plan->candidates_per_hour = 3600 * population / generation_seconds;

  const auto add = [plan](std::string name, double flops, double seconds) {
    plan->phases.push_back({std::move(name), flops, seconds});
    plan->seconds += seconds;
  };
  // Calibration and what follows from it are one task each, of one replica.
  const auto add_layers = [&](std::string name, double of_layer, double at) {
    add(std::move(name), layers * of_layer, layers * of_layer * of_layers / at);
  };
  add_layers("calibration", sequences * LayerFlops(config_, spec_.sequence_length, 1), rate);
  add_layers("Gram matrices", LayerGramFlops(config_, tokens, device_.gpu), device_.float32_flops);
  add_layers("importance", LayerImportanceFlops(config_), device_.float64_flops);
  add("search", generations * population * plan->candidate_flops, generations * generation_seconds);
  add_layers("reformation", LayerReformationFlops(config_, share_, spec_.reformation),
             device_.float64_flops);
  const double evaluation = EvaluationFlops();
  add("evaluation", evaluation, evaluation * of_candidate / rate / replicas);
}

absl::StatusOr<JobPlan> Planner::Plan() {
  JobPlan plan;
  plan.share = share_;
  plan.dense_parameters = DenseParameters(config_);
  plan.target_parameters = spec_.ratio * static_cast<double>(plan.dense_parameters);
  ESPALIER_RETURN_IF_ERROR(Divide(&plan));
  const auto sequences = static_cast<double>(spec_.search.sequences);
  plan.dense_candidate_flops = sequences * SequenceFlops(1);
  plan.candidate_flops = sequences * SequenceFlops(share_);
  plan.candidates = spec_.search.generations * spec_.search.population();
  PlanTimes(&plan);
  plan.compact_bytes = static_cast<int64_t>(plan.target_parameters) * kExportBytes;
  plan.padded_bytes = plan.dense_parameters * kExportBytes;
  plan.fits_disk =
      options_.free_disk == 0 || plan.compact_bytes + plan.padded_bytes <= options_.free_disk;
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
  if (spec.method != SearchMethod::kPaper) {
    return absl::UnimplementedError(
        absl::StrCat("what a job of method ", std::string(SearchMethodName(spec.method)),
                     " costs is not planned yet; plan it with method: paper for the memory"));
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
