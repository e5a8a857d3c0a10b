#include "coordinator/jobs/job_machine.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/model_folder.h"
#include "common/status_macros.h"
#include "coordinator/jobs/choose_stages.h"
#include "coordinator/jobs/losses.h"

namespace espalier {
namespace {

constexpr int64_t kLoadUnits = 100;  // percent
constexpr int kMostLostLinks = 10;
constexpr size_t kMostWarnings = 50;  // of a job
constexpr int kMostRecalled = 2;      // in one step: each draws another candidate (BrainOptions)
constexpr size_t kUnlimited = 1'000'000;  // more than there are; sums do not overflow

std::string KindName(const Work& work) {
  constexpr const char* kNames[] = {"loading the model", "calibration", "evaluation", "reformation",
                                    "export"};
  return kNames[work.index()];
}

TextsFixed TextsOf(const PreparedJob& job) {
  return {.calibration = job.calibration.hash,
          .search = job.search.hash,
          .eval = job.eval.hash,
          .text = job.text_hash,
          .eval_text = job.eval_text_hash};
}

absl::Status WrongKind() {
  return absl::InvalidArgumentError("the answer is of another kind than the task");
}

}  // namespace

JobMachine::JobMachine(JobId id, std::shared_ptr<const JobSpec> spec, TimeMs created,
                       const JobSurroundings& surroundings)
    : reporter_(id, std::move(spec), created),
      surroundings_(surroundings),
      phase_start_(created),
      size_start_(created) {}

void JobMachine::Start(const Step& step) {
  reporter_.StartPhase(step, JobPhase::kLoad, kLoadUnits, "percent", "submitted");
  step.actions->push_back(PrepareJob{.job = view().id, .spec = view().spec});
}

void JobMachine::Resume(const Step& step, StoredJob stored) {
  journal_ = std::move(stored.journal);
  written_ = std::count_if(journal_.begin(), journal_.end(), [](const JournalEntry& entry) {
    return std::holds_alternative<SizeWritten>(entry.fact);
  });
  reporter_.Restore(stored.last_event, stored.state, stored.progress);
  step.actions->push_back(PrepareJob{.job = view().id, .spec = view().spec});
}

ModelRef JobMachine::model() const {
  return {.path = view().spec->model, .precision = view().spec->precision, .hash = holders_.hash()};
}

ModelRef JobMachine::model(const Replica& replica, size_t stage) const {
  ModelRef reference = model();
  reference.hash = holders_.StageHash(replica.key, stage);
  return reference;
}

void JobMachine::Prepared(const Step& step, const absl::StatusOr<PreparedJob>& prepared) {
  if (job_.has_value()) return;
  if (!prepared.ok()) return Fail(step, std::string(prepared.status().message()));
  job_ = *prepared;
  if (job_->spec.stages > job_->config.num_layers) {
    return Fail(step, absl::StrCat("stages: ", job_->spec.stages, " for a model of ",
                                   job_->config.num_layers, " layers; ask for at most that many"));
  }
  reporter_.SetSpec(std::make_shared<const JobSpec>(job_->spec));
  targets_ = TargetSpecs(job_->spec);
  if (several_sizes()) {
    for (JobSpec& target : targets_) {
      absl::StatusOr<JobSpec> resolved = ResolveDefaults(target, job_->config);
      if (!resolved.ok()) return Fail(step, std::string(resolved.status().message()));
      target = *std::move(resolved);
    }
  }
  job_->spec = targets_.front();
  table_ = ClosingTable(*job_);
  if (!journal_.empty()) reporter_.BeginReplay();
  reporter_.StartSize(1, static_cast<int64_t>(targets_.size()));
  if (!journal_.empty()) return;
  Record(step, TextsOf(*job_));
  const std::string held_out = job_->spec.eval_text.path.empty()
                                   ? std::string("no held-out text")
                                   : absl::StrCat(job_->eval.count, " held-out sequences");
  reporter_.Message(step, absl::StrCat("text: ", job_->calibration.count, " calibration and ",
                                       job_->search.count, " search sequences of ",
                                       job_->search.sequence_length, " tokens; ", held_out));
}

void JobMachine::OutputWritten(const Step& step, const absl::Status& status) {
  if (!status.ok()) {
    return Fail(step, absl::StrCat("the result folder cannot be written: ", status.message()));
  }
  if (result_ == nullptr) return;
  reporter_.AddDone(view().progress.total);
  if (size_ + 1 == targets_.size()) {
    return reporter_.Succeed(
        step, result_,
        absl::StrCat(several_sizes() ? "results in " : "result in ", view().spec->output));
  }
  Record(step, SizeWritten{.seconds = result_->seconds});
  FinishSize(step);
}

void JobMachine::Cancel(const Step& step, const std::string& reason) {
  ClearWork();
  reporter_.Cancel(step, reason);
}

void JobMachine::Fail(const Step& step, const std::string& error) {
  ClearWork();
  reporter_.Fail(step, error);
}

void JobMachine::ClearWork() {
  queue_.Clear();
  drawing_ = false;
}

void JobMachine::EnterPhase(const Step& step, JobPhase phase, int64_t total,
                            const std::string& unit, const std::string& message) {
  phases_.push_back({.phase = std::string(PhaseName(view().progress.phase)),
                     .seconds = static_cast<double>(step.now - phase_start_) / 1e3});
  phase_start_ = step.now;
  reporter_.StartPhase(step, phase, total, unit, message);
}

bool JobMachine::TakesPart() const {
  return job_.has_value() && !finished() && view().state != JobState::kPaused;
}

bool JobMachine::MayHaveWorkers() const { return TakesPart() && !Replaying(); }

bool JobMachine::WantsWorkers() const { return MayHaveWorkers() && (searching() || HasWork()); }

size_t JobMachine::Demand(int64_t open) const {
  if (searching()) return kUnlimited;
  const size_t work = queue_.size() + static_cast<size_t>(open);
  const size_t held = holders_.Count(ModelHolders::State::kReady);
  return std::min(work, std::max<size_t>(held, 1));
}

bool JobMachine::Refuses(const Replica& replica) const {
  return std::any_of(replica.workers.begin(), replica.workers.end(),
                     [this](WorkerKey worker) { return holders_.IsRefused(worker); });
}

bool JobMachine::MayChooseStages() const {
  if (!job_.has_value() || finished()) return false;
  using State = ModelHolders::State;
  const bool held = holders_.Count(State::kLoading) + holders_.Count(State::kReady) > 0;
  return stages() == 0 || (!held && job_->spec.stages == 0);
}

void JobMachine::ChooseStages(const std::vector<WorkerInfo>& workers) {
  if (!MayChooseStages() || workers.empty()) return;
  split_ = SplitFor(job_->config, *view().spec, workers);  // the largest of all sizes
  stage_tensors_.clear();
}

WorkItem JobMachine::StartLoad(const Step& step, ReplicaKey replica) {
  reporter_.Activate(step);
  holders_.Loading(replica);
  return {.work = LoadWork{}, .units = holders_.hash().empty() ? kLoadUnits : 0};
}

void JobMachine::Loaded(const Step& step, const Replica& replica, const std::vector<Outcome>& parts,
                        size_t attached) {
  std::vector<LoadResult> results;
  for (size_t stage = 0; stage < parts.size(); ++stage) {
    const auto* result = std::get_if<LoadResult>(&parts[stage]);
    if (result == nullptr) return LoadFailed(step, replica, stage, WrongKind(), attached);
    results.push_back(*result);
  }
  if (stage_tensors_.empty()) {
    const Subnet dense = Subnet::Dense(job_->config);
    for (const StageRange& range : split_) {
      stage_tensors_.push_back(StageTensorNames(job_->config, dense, range));
    }
  }
  const absl::Status status = holders_.Loaded(replica, results, stage_tensors_);
  if (!status.ok()) return LoadRefused(step, replica.label, status, attached);
  if (view().progress.phase == JobPhase::kLoad) {
    Record(step, ModelFixed{.hash = holders_.hash(), .worker = replica.label});
    OpenAnswers(step);
    return StartCalibration(step, replica.label);
  }
  reporter_.Message(step, absl::StrCat(replica.label, " joined"));
}

void JobMachine::LoadFailed(const Step& step, const Replica& replica, size_t stage,
                            const absl::Status& status, size_t attached) {
  holders_.LoadReturned(replica.key);
  holders_.Refuse(replica.workers[stage]);
  LoadRefused(step, replica.label, status, attached);
}

void JobMachine::LoadRefused(const Step& step, const std::string& label, const absl::Status& status,
                             size_t attached) {
  const std::string reason = absl::StrCat(label, " cannot serve this job: ", status.message());
  const bool hopeless = holders_.hash().empty() &&
                        holders_.Count(ModelHolders::State::kLoading) == 0 &&
                        attached < holders_.refused().size() + static_cast<size_t>(stages());
  if (hopeless) return Fail(step, reason);
  reporter_.Message(step, reason);
}

void JobMachine::LoadLost(const Step& step, const Replica& replica, const std::string& label) {
  holders_.LoadReturned(replica.key);
  if (++lost_loads_ >= surroundings_.most_failures && holders_.hash().empty()) {
    Fail(step, absl::StrCat("loading the model lost ", lost_loads_, " workers, the last of them ",
                            label, "; see their logs (is there enough memory for the model?)"));
  }
}

void JobMachine::OpenAnswers(const Step& step) {
  // Candidates that are repaired depend on the calibration too.
  std::string repair;
  if (job_->spec.repair().method != ReformationMethod::kNone) {
    // Hexadecimal: all digits count.
    repair = absl::StrFormat("%s %a", job_->calibration.hash, job_->spec.reformation.damping);
  }
  if (job_->spec.by_divergence()) repair += " kl";
  context_ = AnswerContext(model(), job_->search, repair, surroundings_.version);
  AnswerBook::Page page = surroundings_.answers->Open(context_);
  known_ = std::move(page.answers);
  if (page.fresh) step.actions->push_back(RecallAnswers{.context = context_});
}

const EvaluateResult* JobMachine::Known(const WorkItem& item) const {
  const auto* work = std::get_if<EvaluateWork>(&item.work);
  if (work == nullptr || !searching() || known_ == nullptr) return nullptr;
  const auto it = known_->find(item.subnet);
  const bool good =
      it != known_->end() && CheckEvaluation(it->second, *work, job_->search.sequence_length).ok();
  return good ? &it->second : nullptr;
}

std::optional<WorkItem> JobMachine::Take(const Step& step, ReplicaKey replica) {
  using Statistics = ModelHolders::Statistics;
  while (true) {
    const Statistics statistics = holders_.statistics(replica);
    const ReplicaFitness fitness{
        .key = replica,
        .calibrated = statistics == Statistics::kThere,
        .calibrating = statistics == Statistics::kPending,
        .others_calibrated = holders_.AnyCalibrated(),
        .others_reformed = reformed_on_ != kNobody && reformed_on_ != replica,
        .alone = holders_.Count(ModelHolders::State::kReady) <= 1};
    std::optional<WorkItem> item = queue_.PopFor(fitness);
    if (!item.has_value() && DrawCandidate()) item = queue_.PopFor(fitness);
    if (!item.has_value()) return std::nullopt;
    if (const EvaluateResult* known = Known(*item)) {
      if (recalled_in_step_ == kMostRecalled) {
        more_to_recall_ = true;
        queue_.PushFront(*std::move(item));
        return std::nullopt;
      }
      ++recalled_in_step_;
      if (++recalled_ == 1) {
        reporter_.Message(step,
                          "candidates that were evaluated before, for the same model, text and "
                          "settings, are not evaluated again");
      }
      const EvaluateResult answer = *known;
      if (const absl::Status status = Done(step, *item, kNobody, /*task=*/0, answer, TaskNotes{});
          !status.ok()) {
        ItemFailed(step, *std::move(item), kNobody, std::string(status.message()));
      }
      continue;
    }
    if (item->needs_calibration && statistics == Statistics::kNone) {
      queue_.PushFront(*std::move(item));
      item = CalibrationItem();
      item->prelude = true;
      item->units = 0;
    }
    if (std::holds_alternative<CalibrateWork>(item->work)) {
      holders_.SetStatistics(replica, Statistics::kPending);
    }
    if (item->needs_reformed) reformed_on_ = replica;
    return item;
  }
}

absl::Status JobMachine::Done(const Step& step, const WorkItem& item, ReplicaKey replica,
                              TaskId task, const Outcome& outcome, const TaskNotes& notes) {
  ESPALIER_RETURN_IF_ERROR(Accept(step, item, task, outcome, notes));
  lost_links_ = 0;
  if (std::holds_alternative<CalibrateWork>(item.work)) {
    failed_preludes_.clear();
    lost_preludes_ = 0;
    // Unless it was given another text meanwhile.
    if (holders_.statistics(replica) == ModelHolders::Statistics::kPending) {
      holders_.SetStatistics(replica, ModelHolders::Statistics::kThere);
    }
  }
  // An export is not a fact: its files are not in the store, and a restart makes them again. Nor is
  // what only prepared a replica.
  if (!item.prelude && !std::holds_alternative<ExportWork>(item.work)) {
    Record(step, WorkDone{.key = KeyOf(item), .outcome = outcome, .notes = notes});
  }
  return absl::OkStatus();
}

absl::Status JobMachine::Accept(const Step& step, const WorkItem& item, TaskId task,
                                const Outcome& outcome, const TaskNotes& notes) {
  Charge(item, notes);
  Warn(step, notes.warnings);
  if (std::holds_alternative<CalibrateWork>(item.work)) {
    const auto* result = std::get_if<CalibrateResult>(&outcome);
    if (result == nullptr) return WrongKind();
    return item.prelude ? absl::OkStatus() : AcceptScores(step, *result);
  }
  if (std::holds_alternative<EvaluateWork>(item.work)) {
    const auto* result = std::get_if<EvaluateResult>(&outcome);
    if (result == nullptr) return WrongKind();
    if (view().progress.phase <= JobPhase::kSearch) return AcceptCandidate(step, item, *result);
    return AcceptMeasurement(step, item, *result, notes.seconds);
  }
  if (std::holds_alternative<ReformWork>(item.work)) {
    const auto* result = std::get_if<ReformResult>(&outcome);
    return result == nullptr ? WrongKind() : AcceptReformation(step, *result);
  }
  if (!std::holds_alternative<ExportResult>(outcome)) return WrongKind();
  FinishExport(step, task);
  return absl::OkStatus();
}

// Also what was in vain: it took the time.
void JobMachine::Charge(const WorkItem& item, const TaskNotes& notes) {
  const auto* evaluate = std::get_if<EvaluateWork>(&item.work);
  const bool repairs = evaluate != nullptr &&
                       evaluate->reformation.method != ReformationMethod::kProgressive &&
                       searching();
  (repairs ? work_seconds_.repair : work_seconds_.reformation) += notes.preparation;
  if (std::holds_alternative<CalibrateWork>(item.work)) {
    work_seconds_.statistics += notes.seconds;
  } else if (evaluate != nullptr) {
    work_seconds_.evaluation += notes.seconds;
  } else if (std::holds_alternative<ReformWork>(item.work)) {
    work_seconds_.reformation += notes.seconds;
  } else if (std::holds_alternative<ExportWork>(item.work)) {
    work_seconds_.export_ += notes.seconds;
  }
}

void JobMachine::Warn(const Step& step, const std::vector<std::string>& warnings) {
  for (const std::string& text : warnings) {
    if (std::find(warnings_.begin(), warnings_.end(), text) != warnings_.end()) continue;
    if (warnings_.size() > kMostWarnings) return;
    const bool last = warnings_.size() == kMostWarnings;
    warnings_.push_back(last ? "there were more warnings than are kept" : text);
    reporter_.Message(step, absl::StrCat("warning: ", warnings_.back()));
  }
}

void JobMachine::StatisticsGone(ReplicaKey replica) {
  holders_.SetStatistics(replica, ModelHolders::Statistics::kNone);
  ReformedGone(replica);
}

void JobMachine::ReformedGone(ReplicaKey replica) {
  if (reformed_on_ == replica) reformed_on_ = kNobody;
}

void JobMachine::Return(WorkItem item, ReplicaKey replica) {
  if (item.needs_reformed) ReformedGone(replica);
  if (std::holds_alternative<CalibrateWork>(item.work)) StatisticsGone(replica);
  if (!item.prelude) queue_.PushFront(std::move(item));
}

void JobMachine::Failed(const Step& step, WorkItem item, const Replica& replica, WorkerKey worker,
                        const std::string& reason, size_t attached) {
  if (item.needs_reformed) ReformedGone(replica.key);
  if (std::holds_alternative<CalibrateWork>(item.work)) StatisticsGone(replica.key);
  if (item.prelude) return PreludeFailed(step, replica, worker, reason, attached);
  ItemFailed(step, std::move(item), replica.key, reason);
}

void JobMachine::ItemFailed(const Step& step, WorkItem item, ReplicaKey replica,
                            const std::string& reason) {
  Record(step, WorkFailed{.key = KeyOf(item), .reason = reason});
  TryAgain(step, std::move(item), replica, reason);
}

// Others may be able to calibrate: a worker that fails again and again is refused, and the job
// fails when too few are left, or when all are lost.
void JobMachine::PreludeFailed(const Step& step, const Replica& replica, WorkerKey worker,
                               const std::string& reason, size_t attached) {
  const int times = worker == kNobody ? ++lost_preludes_ : ++failed_preludes_[worker];
  if (times >= surroundings_.most_failures) {
    const std::string why =
        absl::StrCat("calibration failed ", times, " times, the last time: ", reason);
    if (worker == kNobody) {
      if (!holders_.AnyCalibrated()) return Fail(step, why);
    } else {
      holders_.Refuse(worker);
      if (attached < holders_.refused().size() + static_cast<size_t>(stages())) {
        return Fail(step, why);
      }
      return reporter_.Message(step,
                               absl::StrCat(replica.label, " serves this job no more: ", why));
    }
  }
  reporter_.Message(step, absl::StrCat("calibration is tried again: ", reason));
}

void JobMachine::LinkLost(const Step& step, const std::string& reason) {
  if (++lost_links_ >= kMostLostLinks) {
    return Fail(step, absl::StrCat("the stages of the model lost each other ", lost_links_,
                                   " times without getting anything done, the last time: ", reason,
                                   "; check that the workers reach each other's --stage-listen "
                                   "addresses"));
  }
  reporter_.Message(step, absl::StrCat("a replica is formed anew: ", reason));
}

void JobMachine::TryAgain(const Step& step, WorkItem item, ReplicaKey replica,
                          const std::string& reason) {
  item.last_failed_on = replica;
  if (++item.failures < surroundings_.most_failures) {
    reporter_.Message(step, absl::StrCat(KindName(item.work), " is tried again: ", reason));
    return queue_.PushFront(std::move(item));
  }
  if (view().progress.phase <= JobPhase::kSearch &&
      std::holds_alternative<EvaluateWork>(item.work)) {
    return CandidateFailed(step, item, reason);
  }
  Fail(step, absl::StrCat(KindName(item.work), " failed ", item.failures,
                          " times, the last time: ", reason));
}

absl::Status JobMachine::Repeat(const Step&, const TextsFixed& fact) {
  if (fact == TextsOf(*job_)) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "its texts or its model's tokenizer are not what they were when it began; submit it again");
}

}  // namespace espalier
