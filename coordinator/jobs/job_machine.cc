#include "coordinator/jobs/job_machine.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace espalier {
namespace {

constexpr int64_t kLoadUnits = 100;  // percent

std::string KindName(const Work& work) {
  constexpr const char* kNames[] = {"loading the model", "calibration", "evaluation", "reformation",
                                    "export"};
  return kNames[work.index()];
}

absl::Status WrongKind() {
  return absl::InvalidArgumentError("the answer is of another kind than the task");
}

}  // namespace

JobMachine::JobMachine(const Step& step, JobId id, std::shared_ptr<const JobSpec> spec,
                       int most_failures, const SearchFactory* searches)
    : reporter_(id, spec, step.now),
      most_failures_(most_failures),
      searches_(searches),
      phase_start_(step.now) {
  reporter_.StartPhase(step, JobPhase::kLoad, kLoadUnits, "percent", "submitted");
  step.actions->push_back(PrepareJob{.job = id, .spec = std::move(spec)});
}

ModelRef JobMachine::model() const {
  return {.path = view().spec->model, .precision = view().spec->precision, .hash = holders_.hash()};
}

void JobMachine::Prepared(const Step& step, const absl::StatusOr<PreparedJob>& prepared) {
  if (job_.has_value()) return;
  if (!prepared.ok()) return Fail(step, std::string(prepared.status().message()));
  job_ = *prepared;
  table_ = ClosingTable(*job_);
  reporter_.SetSpec(std::make_shared<const JobSpec>(job_->spec));
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
  reporter_.Succeed(step, result_, absl::StrCat("result in ", result_->output));
}

void JobMachine::Cancel(const Step& step, const std::string& reason) {
  queue_.Clear();
  reporter_.Cancel(step, reason);
}

void JobMachine::Fail(const Step& step, const std::string& error) {
  queue_.Clear();
  reporter_.Fail(step, error);
}

void JobMachine::EnterPhase(const Step& step, JobPhase phase, int64_t total,
                            const std::string& unit, const std::string& message) {
  phases_.push_back({.phase = std::string(PhaseName(view().progress.phase)),
                     .seconds = static_cast<double>(step.now - phase_start_) / 1e3});
  phase_start_ = step.now;
  reporter_.StartPhase(step, phase, total, unit, message);
}

bool JobMachine::WantsWorkers() const {
  if (!job_.has_value() || finished()) return false;
  return view().progress.phase <= JobPhase::kSearch || HasWork();
}

WorkItem JobMachine::StartLoad(const Step& step, WorkerKey worker) {
  reporter_.Activate(step);
  holders_.Loading(worker);
  return {.work = LoadWork{}, .units = holders_.hash().empty() ? kLoadUnits : 0};
}

void JobMachine::LoadAnswered(const Step& step, WorkerKey worker, const std::string& label,
                              const absl::Status& status, const Outcome& outcome) {
  const auto* result = std::get_if<LoadResult>(&outcome);
  absl::Status loaded = status;
  if (loaded.ok()) loaded = result == nullptr ? WrongKind() : holders_.Loaded(worker, *result);
  if (loaded.ok()) {
    if (view().progress.phase == JobPhase::kLoad) return StartCalibration(step, label);
    return reporter_.Message(step, absl::StrCat(label, " joined"));
  }
  holders_.Refuse(worker);
  const std::string reason = absl::StrCat(label, " cannot serve this job: ", loaded.message());
  if (holders_.hash().empty() && holders_.Count(ModelHolders::State::kLoading) == 0) {
    return Fail(step, reason);
  }
  reporter_.Message(step, reason);
}

void JobMachine::LoadLost(const Step& step, WorkerKey worker, const std::string& label) {
  holders_.LoadReturned(worker);
  if (++lost_loads_ >= most_failures_ && holders_.hash().empty()) {
    Fail(step, absl::StrCat("loading the model lost ", lost_loads_, " workers, the last of them ",
                            label, "; see their logs (is there enough memory for the model?)"));
  }
}

std::optional<WorkItem> JobMachine::Take(WorkerKey worker) {
  const bool calibrated = holders_.IsCalibrated(worker);
  return queue_.PopFor({.key = worker,
                        .calibrated = calibrated,
                        .others_calibrated = !calibrated && holders_.AnyCalibrated(),
                        .alone = holders_.Count(ModelHolders::State::kReady) <= 1});
}

void JobMachine::Done(const Step& step, WorkItem item, WorkerKey worker, TaskId task,
                      const Outcome& outcome, double seconds) {
  const absl::Status status = Accept(step, item, worker, task, outcome, seconds);
  if (!status.ok()) {
    Failed(step, std::move(item), worker, absl::StrCat("malformed answer: ", status.message()));
  }
}

absl::Status JobMachine::Accept(const Step& step, const WorkItem& item, WorkerKey worker,
                                TaskId task, const Outcome& outcome, double seconds) {
  if (std::holds_alternative<CalibrateWork>(item.work)) {
    const auto* result = std::get_if<CalibrateResult>(&outcome);
    return result == nullptr ? WrongKind() : AcceptScores(step, worker, *result);
  }
  if (std::holds_alternative<EvaluateWork>(item.work)) {
    const auto* result = std::get_if<EvaluateResult>(&outcome);
    if (result == nullptr) return WrongKind();
    if (view().progress.phase <= JobPhase::kSearch) return AcceptCandidate(step, item, *result);
    return AcceptMeasurement(step, item, *result, seconds);
  }
  if (std::holds_alternative<ReformWork>(item.work)) {
    const auto* result = std::get_if<ReformResult>(&outcome);
    return result == nullptr ? WrongKind() : AcceptReformation(step, worker, *result);
  }
  if (!std::holds_alternative<ExportResult>(outcome)) return WrongKind();
  FinishExport(step, task);
  return absl::OkStatus();
}

void JobMachine::Failed(const Step& step, WorkItem item, WorkerKey worker,
                        const std::string& reason) {
  item.last_failed_on = worker;
  if (++item.failures < most_failures_) {
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

}  // namespace espalier
