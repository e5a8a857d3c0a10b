// What each phase of a job asks for and makes of the answers.
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "coordinator/jobs/job_machine.h"
#include "coordinator/jobs/sizes_report.h"
#include "coordinator/search/population_log.h"

namespace espalier {
namespace {

constexpr int64_t kExportUnits = 100;  // percent
constexpr int64_t kUploadUnits = 90;   // of which the worker's part

// The ranking with its masks cut to the model's sizes.
absl::Status CheckRanking(const ModelConfig& config, Ranking* ranking) {
  if (std::ssize(ranking->layers) != config.num_layers) {
    return absl::InvalidArgumentError(absl::StrCat("a ranking of ", ranking->layers.size(),
                                                   " layers for a model of ", config.num_layers));
  }
  for (size_t l = 0; l < ranking->layers.size(); ++l) {
    for (AttentionCut& cut : ranking->layers[l].attention) {
      for (Bitmask& mask : cut.masks) {
        absl::StatusOr<Bitmask> fitting = Bitmask::FromBytes(config.pairs(), mask.bytes());
        if (!fitting.ok()) {
          return absl::InvalidArgumentError(
              absl::StrCat("a cut of layer ", l, "'s attention: ", fitting.status().message()));
        }
        mask = *std::move(fitting);
      }
    }
  }
  return absl::OkStatus();
}

// The random baseline needs none: what takes the least time.
ScoreKind ScoresFor(SearchMethod method) {
  switch (method) {
    case SearchMethod::kPaper:
    case SearchMethod::kEspalier:
      return ScoreKind::kImportance;
    case SearchMethod::kRandom:
    case SearchMethod::kMagnitude:
      return ScoreKind::kMagnitude;
    case SearchMethod::kWandaSp:
      return ScoreKind::kWanda;
    case SearchMethod::kFlap:
      return ScoreKind::kFluctuation;
  }
  return ScoreKind::kImportance;
}

bool IsScore(double score) { return std::isfinite(score) && score >= 0; }

absl::Status CheckScores(const UnitScores& scores, const ModelConfig& config) {
  if (static_cast<int64_t>(scores.layers.size()) != config.num_layers) {
    return absl::InvalidArgumentError(absl::StrCat("scores of ", scores.layers.size(),
                                                   " layers for a model of ", config.num_layers));
  }
  for (size_t l = 0; l < scores.layers.size(); ++l) {
    const LayerScores& layer = scores.layers[l];
    bool good = static_cast<int64_t>(layer.attention.size()) == config.num_kv_heads &&
                static_cast<int64_t>(layer.mlp.size()) == config.intermediate_size;
    for (const double score : layer.mlp) good = good && IsScore(score);
    for (const std::vector<double>& group : layer.attention) {
      good = good && static_cast<int64_t>(group.size()) == config.pairs();
      for (const double score : group) good = good && IsScore(score);
    }
    if (!good) {
      return absl::InvalidArgumentError(
          absl::StrCat("the scores of layer ", l,
                       " do not have the model's sizes or are not finite numbers ≥ 0"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

// ---- CALIBRATE ----

void JobMachine::StartCalibration(const Step& step, const std::string& worker) {
  EnterPhase(step, JobPhase::kCalibrate, job_->calibration.count, "sequences",
             absl::StrCat("the model is loaded: ", worker));
  queue_.PushBack(CalibrationItem());
}

CalibrateWork JobMachine::Calibration() const {
  CalibrateWork work{.data_set = job_->calibration.hash, .damping = job_->spec.importance_damping};
  work.scores = ScoresFor(job_->spec.method);
  if (job_->spec.method == SearchMethod::kEspalier) {
    work.steps = CutSteps{.channels = job_->spec.align_mlp,
                          .pairs = std::max<int64_t>(1, job_->spec.align_head_dim / 2)};
  }
  if (job_->spec.by_divergence()) work.predictions = job_->search.hash;
  return work;
}

WorkItem JobMachine::CalibrationItem() const {
  return {.work = Calibration(), .units = job_->calibration.count};
}

bool JobMachine::SharesStatistics(const CalibrateWork& work) const {
  if (!job_.has_value()) return false;
  const CalibrateWork own = Calibration();
  return work.data_set == own.data_set &&
         (own.predictions.empty() || work.predictions == own.predictions);
}

std::string JobMachine::StatisticsId() const {
  const CalibrateWork work = Calibration();
  return absl::StrCat(work.data_set, " ", work.predictions);
}

absl::Status JobMachine::AcceptScores(const Step& step, const CalibrateResult& result) {
  ESPALIER_RETURN_IF_ERROR(CheckScores(result.scores, job_->config));
  CalibrateResult statistics = result;
  if (job_->spec.method == SearchMethod::kEspalier) {
    ESPALIER_RETURN_IF_ERROR(CheckRanking(job_->config, &statistics.ranking));
  }
  reporter_.AddDone(job_->calibration.count);
  statistics_ = std::move(statistics);
  // A size that cannot be is better known now than after hours.
  for (size_t later = size_ + 1; later < targets_.size(); ++later) {
    const auto search = surroundings_.searches->Create(job_->config, targets_[later],
                                                       statistics_.scores, statistics_.ranking);
    if (!search.ok()) {
      Fail(step, std::string(search.status().message()));
      return absl::OkStatus();
    }
  }
  StartSize(step);
  return absl::OkStatus();
}

// ---- Sizes ----

void JobMachine::StartSize(const Step& step) {
  absl::StatusOr<std::unique_ptr<SubnetSearch>> search = surroundings_.searches->Create(
      job_->config, job_->spec, statistics_.scores, statistics_.ranking);
  if (!search.ok()) return Fail(step, std::string(search.status().message()));
  search_ = *std::move(search);
  if (size_ + 1 == targets_.size()) statistics_ = {};
  NextGeneration(step);
}

std::string JobMachine::part() const { return several_sizes() ? RatioName(job_->spec.ratio) : ""; }

// Another size comes after it.
void JobMachine::FinishSize(const Step& step) {
  const MeasurementView measured = result_->reformed;
  reporter_.AddResult(step, std::exchange(result_, nullptr),
                      absl::StrFormat("size %d of %d: perplexity %.4f at ratio %.4f", size_ + 1,
                                      targets_.size(), measured.perplexity, measured.ratio));
  job_->spec = targets_[++size_];
  const ClosingTable finished = std::exchange(table_, ClosingTable(*job_));
  table_.TakeDense(finished);
  candidates_ = 0;
  work_seconds_ = {};
  fits_.clear();
  reformed_on_ = kNobody;
  // The phases are this size's; the one that ends now was the last one's.
  phases_.clear();
  phase_start_ = size_start_ = step.now;
  reporter_.StartSize(static_cast<int64_t>(size_) + 1, static_cast<int64_t>(targets_.size()));
  StartSize(step);
}

// ---- INITIALIZE and SEARCH ----

void JobMachine::NextGeneration(const Step& step) {
  if (search_->Done()) return StartReformation(step);
  board_ = GenerationBoard();
  drawing_ = true;
  QueueCandidate();  // drawn by the search already
  const int64_t generation = search_->Drawn().front().id.generation;
  reporter_.SetGeneration(generation);
  if (generation == 0) {
    EnterPhase(step, JobPhase::kInitialize, search_->sensitivities() + 1, "candidates", "");
  }
}

// Others are drawn when a replica wants one. False when the generation has no more.
bool JobMachine::DrawCandidate() {
  if (!drawing_) return false;
  drawing_ = search_->DrawNext();
  if (drawing_) QueueCandidate();
  return drawing_;
}

// The one that was drawn last.
void JobMachine::QueueCandidate() {
  const Candidate& candidate = search_->Drawn().back();
  EvaluateWork work;
  work.subnet = std::make_shared<const Subnet>(candidate.subnet);
  work.data_set = job_->search.hash;
  work.count = job_->search.count;
  std::string name = candidate.fingerprint;
  if (candidate.window.count > 0) {
    work.first = candidate.window.first;
    work.count = candidate.window.count;
    absl::StrAppend(&name, "@", work.first, "+", work.count);
  }
  work.reformation = job_->spec.repair();
  if (work.reformation.method != ReformationMethod::kNone) {
    work.calibration = job_->calibration.hash;
  }
  work.divergence = job_->spec.by_divergence();
  const bool needs_statistics = work.divergence || !work.calibration.empty();
  board_.Expect();
  queue_.PushBack({.work = std::move(work),
                   .index = std::ssize(search_->Drawn()) - 1,
                   .subnet = std::move(name),
                   .needs_calibration = needs_statistics,
                   .many = needs_statistics});
}

absl::Status JobMachine::AcceptCandidate(const Step& step, const WorkItem& item,
                                         const EvaluateResult& result) {
  const auto& work = std::get<EvaluateWork>(item.work);
  ESPALIER_RETURN_IF_ERROR(CheckEvaluation(result, work, job_->search.sequence_length));
  const double perplexity = PerplexityOf(result.nll_sums, result.predictions_per_sequence);
  const double fitness =
      work.divergence ? DivergenceOf(result.kl_sums, result.predictions_per_sequence) : perplexity;
  if (known_->emplace(item.subnet, result).second) {
    step.actions->push_back(
        RecordAnswer{.context = context_, .subnet = item.subnet, .answer = result});
  }
  board_.Score(item.index, fitness);
  const double ratio = ParameterRatio(*work.subnet, job_->config);
  // Perplexities on different windows cannot be compared: the one of the latest parent shows.
  const Candidate& candidate = search_->Drawn()[item.index];
  if (candidate.window == SequenceWindow{}) {
    reporter_.ImproveBest(perplexity, ratio);
  } else if (candidate.origin == Origin::kInitial || candidate.origin == Origin::kFinalist) {
    if (candidate.id.slot == 0) reporter_.SetBest(perplexity, ratio);
  }
  CandidateSettled(
      step, item.index,
      absl::StrFormat("initial subnet: perplexity %.4f at ratio %.4f", perplexity, ratio));
  return absl::OkStatus();
}

void JobMachine::CandidateFailed(const Step& step, const WorkItem& item,
                                 const std::string& reason) {
  const CandidateId id = search_->Drawn()[item.index].id;
  reporter_.Message(step, absl::StrCat("candidate ", id.slot, " of generation ", id.generation,
                                       " is given up: ", reason));
  board_.Fail(reason);
  CandidateSettled(step, item.index, "");
}

void JobMachine::CandidateSettled(const Step& step, int64_t index,
                                  const std::string& initial_message) {
  board_.SetLine(index,
                 PopulationLogLine(search_->Drawn()[index], board_.fitness()[index], job_->config));
  search_->Scored(static_cast<size_t>(index), board_.fitness()[index]);
  const Origin origin = search_->Drawn()[index].origin;
  if (view().progress.phase == JobPhase::kSearch || origin == Origin::kSensitivity) {
    reporter_.AddDone(1);
  } else if (origin == Origin::kInitial) {
    // The initial architecture is known; the rest of its generation counts as search already.
    reporter_.AddDone(1);
    EnterPhase(step, JobPhase::kSearch, search_->most_candidates(), "candidates", initial_message);
    reporter_.AddDone(board_.settled());
  }
  if (board_.Complete() && !DrawCandidate()) SettleGeneration(step);
}

void JobMachine::SettleGeneration(const Step& step) {
  if (board_.AllFailed()) {
    return Fail(step, absl::StrCat("every candidate of a generation failed, the last one: ",
                                   board_.last_failure()));
  }
  const std::vector<Candidate>& candidates = search_->Drawn();
  const int64_t generation = candidates.front().id.generation;
  step.actions->push_back(AppendPopulation{
      .job = view().id, .lines = absl::StrJoin(board_.lines(), ""), .part = part()});
  const Origin origin = candidates.front().origin;
  candidates_ += static_cast<int64_t>(candidates.size());
  if (origin == Origin::kInitial) {
    // What is not known is measured at the end.
    table_.SetSubnet(Row::kInitial, std::make_shared<const Subnet>(search_->initial()),
                     job_->spec.fitness_is_perplexity() ? board_.fitness().front() : 0);
  }
  const absl::Status status = search_->Report(board_.fitness());
  if (!status.ok()) return Fail(step, std::string(status.message()));
  if (origin != Origin::kSensitivity && origin != Origin::kOffspring) {
    const ScoredCandidate& best = search_->best();
    reporter_.Message(
        step, absl::StrFormat("generation %d: best %s %.4f at ratio %.4f", generation,
                              job_->spec.by_divergence() ? "divergence" : "perplexity",
                              best.fitness, ParameterRatio(best.candidate.subnet, job_->config)));
  }
  NextGeneration(step);
}

// ---- REFORM ----

bool JobMachine::Reforms() const {
  return job_->spec.reformation.method != ReformationMethod::kNone;
}

// Whose weights the result has: the searched ones, unless those were repaired for the search only.
Row JobMachine::ResultRow() const {
  const bool repaired = job_->spec.repair().method != ReformationMethod::kNone;
  return Reforms() || repaired ? Row::kReformed : Row::kSearched;
}

void JobMachine::StartReformation(const Step& step) {
  const ScoredCandidate& best = search_->best();
  if (!std::isfinite(best.fitness)) {
    return Fail(
        step,
        "no subnet with a finite perplexity was found; check the model and the text, or ask "
        "for a higher ratio");
  }
  const auto subnet = std::make_shared<const Subnet>(best.candidate.subnet);
  const double perplexity = job_->spec.fitness_is_perplexity() ? best.fitness : 0;
  table_.SetSubnet(Row::kSearched, subnet, perplexity);
  table_.SetSubnet(Row::kReformed, subnet, perplexity);
  if (!Reforms()) {
    EnterPhase(step, JobPhase::kReform, 0, "layers", "reformation: none asked for");
    return StartEvaluation(step);
  }
  const int64_t layers = job_->config.num_layers;
  EnterPhase(step, JobPhase::kReform, layers, "layers", "");
  queue_.PushBack({.work = ReformWork{.subnet = subnet,
                                      .reformation = job_->spec.reformation,
                                      .calibration = job_->calibration.hash},
                   .units = layers,
                   .needs_calibration = true,
                   .needs_reformed = IsProgressive(job_->spec)});
}

absl::Status JobMachine::AcceptReformation(const Step& step, const ReformResult& result) {
  for (const LinearFit& fit : result.errors) {
    if (fit.layer < 0 || fit.layer >= job_->config.num_layers) {
      return absl::InvalidArgumentError(absl::StrCat("a reformation error of layer ", fit.layer,
                                                     " of ", job_->config.num_layers));
    }
  }
  fits_ = result.errors;
  reporter_.AddDone(job_->config.num_layers);
  std::vector<WorkItem> items = table_.ReformationItems();
  open_items_ = static_cast<int64_t>(items.size());
  for (WorkItem& item : items) {
    item.units = 0;
    queue_.PushBack(std::move(item));
  }
  reporter_.Message(step, absl::StrCat("reformed ", fits_.size(), " linears"));
  return absl::OkStatus();
}

void JobMachine::FinishReformation(const Step& step) {
  const double before = table_.search_perplexity(Row::kSearched);
  const double after = table_.search_perplexity(Row::kReformed);
  const bool better = after < before;
  if (better) reporter_.ImproveBest(after, view().progress.ratio);
  reporter_.Message(
      step, absl::StrFormat("reformation: perplexity %.4f → %.4f on the search text%s", before,
                            after, better ? "" : "; it did not help (more calibration text may)"));
  StartEvaluation(step);
}

// ---- EVALUATE ----

void JobMachine::StartEvaluation(const Step& step) {
  std::vector<WorkItem> items = table_.EvaluationItems(ResultRow());
  int64_t sequences = 0;
  for (WorkItem& item : items) {
    sequences += item.units;
    queue_.PushBack(std::move(item));
  }
  open_items_ = static_cast<int64_t>(items.size());
  EnterPhase(step, JobPhase::kEvaluate, sequences, "sequences", "");
}

absl::Status JobMachine::AcceptMeasurement(const Step& step, const WorkItem& item,
                                           const EvaluateResult& result, double seconds) {
  ESPALIER_RETURN_IF_ERROR(table_.Add(item, result, seconds));
  reporter_.AddDone(item.units);
  if (--open_items_ > 0) return absl::OkStatus();
  if (view().progress.phase == JobPhase::kReform) {
    FinishReformation(step);
  } else {
    StartExport(step);
  }
  return absl::OkStatus();
}

// ---- EXPORT ----

void JobMachine::StartExport(const Step& step) {
  EnterPhase(step, JobPhase::kExport, kExportUnits, "percent", "");
  ExportWork work{.subnet = table_.subnet(Row::kSearched),
                  .reformation = job_->spec.reformation,
                  .calibration = Reforms() ? job_->calibration.hash : ""};
  queue_.PushBack({.work = std::move(work),
                   .units = kUploadUnits,
                   .needs_calibration = Reforms(),
                   .needs_reformed = IsProgressive(job_->spec)});
}

void JobMachine::FinishExport(const Step& step, TaskId task) {
  reporter_.AddDone(kUploadUnits);
  result_ = BuildResult(static_cast<double>(step.now - size_start_) / 1e3);
  std::vector<PhaseSeconds> phases = phases_;
  phases.push_back({.phase = std::string(PhaseName(JobPhase::kExport)),
                    .seconds = static_cast<double>(step.now - phase_start_) / 1e3});
  // The index file comes last.
  std::vector<FinishOutput::File> files = {
      {.name = "job.yaml", .contents = PortableSpec(job_->spec)},
      {.name = "report.json", .contents = ReportJson(*result_, phases, fits_)},
      {.name = "subnet.json", .contents = SubnetJson(*job_, holders_.hash(), search_->best())}};
  step.actions->push_back(FinishOutput{.job = view().id,
                                       .task = task,
                                       .subnet = table_.subnet(Row::kSearched),
                                       .files = std::move(files),
                                       .part = part(),
                                       .summary = Summary()});
}

std::vector<FinishOutput::File> JobMachine::Summary() const {
  if (!several_sizes()) return {};
  ResultViews results = view().results;
  results.push_back(result_);
  return {{.name = "job.yaml", .contents = PortableSpec(*view().spec)},
          {.name = "sizes.csv", .contents = SizesCsv(results)},
          {.name = "sizes.svg", .contents = SizesSvg(results)}};
}

std::shared_ptr<const ResultView> JobMachine::BuildResult(double seconds) const {
  ResultView result;
  result.dense = table_.View(Row::kDense);
  result.initial = table_.View(Row::kInitial);
  result.searched = table_.View(Row::kSearched);
  result.reformed = table_.View(ResultRow());
  result.output = job_->spec.output;
  if (several_sizes()) absl::StrAppend(&result.output, "/", part());
  result.held_out = !job_->spec.eval_text.path.empty();
  result.candidates = candidates_;
  result.seconds = seconds;
  result.work = work_seconds_;
  result.warnings = warnings_;
  return std::make_shared<const ResultView>(std::move(result));
}

}  // namespace espalier
