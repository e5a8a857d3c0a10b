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

TextsFixed TextsOf(const PreparedJob& job) {
  return {.calibration = job.calibration.hash,
          .search = job.search.hash,
          .eval = job.eval.hash,
          .text = job.text_hash,
          .eval_text = job.eval_text_hash};
}

absl::Status NotOpen() {
  return absl::FailedPreconditionError(
      "it names a piece of work that does not exist; was it written by another version?");
}

absl::Status WrongKind() {
  return absl::InvalidArgumentError("the answer is of another kind than the task");
}

}  // namespace

JobMachine::JobMachine(JobId id, std::shared_ptr<const JobSpec> spec, TimeMs created,
                       int most_failures, const SearchFactory* searches)
    : reporter_(id, std::move(spec), created),
      most_failures_(most_failures),
      searches_(searches),
      phase_start_(created) {}

void JobMachine::Start(const Step& step) {
  reporter_.StartPhase(step, JobPhase::kLoad, kLoadUnits, "percent", "submitted");
  step.actions->push_back(PrepareJob{.job = view().id, .spec = view().spec});
}

void JobMachine::Resume(const Step& step, StoredJob stored) {
  journal_ = std::move(stored.journal);
  reporter_.Restore(stored.last_event, stored.state, stored.progress);
  step.actions->push_back(PrepareJob{.job = view().id, .spec = view().spec});
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
  if (!journal_.empty()) return Replay(step);
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
    if (view().progress.phase == JobPhase::kLoad) {
      Record(step, ModelFixed{.hash = holders_.hash(), .worker = label});
      return StartCalibration(step, label);
    }
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
    return Failed(step, std::move(item), worker,
                  absl::StrCat("malformed answer: ", status.message()));
  }
  // An export is not a fact: its files are not in the store, and a restart makes them again.
  if (std::holds_alternative<ExportWork>(item.work)) return;
  Record(step, WorkDone{.key = KeyOf(item), .outcome = outcome, .seconds = seconds});
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
  Record(step, WorkFailed{.key = KeyOf(item), .reason = reason});
  TryAgain(step, std::move(item), worker, reason);
}

void JobMachine::TryAgain(const Step& step, WorkItem item, WorkerKey worker,
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

// ---- The journal ----

void JobMachine::Record(const Step& step, Fact fact) {
  step.actions->push_back(
      RecordFact{.job = view().id, .entry = {.time = step.now, .fact = std::move(fact)}});
}

void JobMachine::Replay(const Step& step) {
  const std::vector<JournalEntry> journal = std::exchange(journal_, {});
  Actions past;
  absl::Status status;
  reporter_.BeginReplay();
  for (const JournalEntry& entry : journal) {
    const Step then{.now = entry.time, .actions = &past};
    status = std::visit([&](const auto& fact) { return Repeat(then, fact); }, entry.fact);
    if (!status.ok()) break;
  }
  // What was stored was also carried out; but the population log is written to a new folder.
  for (Action& action : past) {
    if (std::holds_alternative<AppendPopulation>(action))
      step.actions->push_back(std::move(action));
  }
  reporter_.EndReplay(step.now);
  if (!status.ok()) {
    return Fail(step, absl::StrCat("the job cannot be taken up again: ", status.message()));
  }
  reporter_.Message(step, absl::StrCat("the coordinator was restarted; ", journal.size(),
                                       " stored results were taken up"));
}

absl::Status JobMachine::Repeat(const Step&, const TextsFixed& fact) {
  if (fact == TextsOf(*job_)) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "its texts or its model's tokenizer are not what they were when it began; submit it again");
}

absl::Status JobMachine::Repeat(const Step& step, const ModelFixed& fact) {
  reporter_.Activate(step);
  holders_.Fix(fact.hash);
  StartCalibration(step, fact.worker);
  return absl::OkStatus();
}

absl::Status JobMachine::Repeat(const Step& step, const WorkDone& fact) {
  const std::optional<WorkItem> item = queue_.Pop(fact.key);
  if (!item.has_value()) return NotOpen();
  return Accept(step, *item, kNobody, /*task=*/0, fact.outcome, fact.seconds);
}

absl::Status JobMachine::Repeat(const Step& step, const WorkFailed& fact) {
  std::optional<WorkItem> item = queue_.Pop(fact.key);
  if (!item.has_value()) return NotOpen();
  TryAgain(step, *std::move(item), kNobody, fact.reason);
  return absl::OkStatus();
}

}  // namespace espalier
