#include "coordinator/jobs/testing/answer_ledger.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/model_digest.h"
#include "coordinator/jobs/stage_outcomes.h"

namespace espalier::testing_fakes {
namespace {

// Facts that an answer was taken, and facts that an attempt failed.
struct Facts {
  std::vector<RecordFact> taken;
  std::vector<RecordFact> failed;

  bool empty() const { return taken.empty() && failed.empty(); }
};

Facts FactsIn(const Actions& actions) {
  Facts facts;
  for (const Action& action : actions) {
    const auto* record = std::get_if<RecordFact>(&action);
    if (record == nullptr) continue;
    const Fact& fact = record->entry.fact;
    if (std::holds_alternative<WorkDone>(fact) || std::holds_alternative<ModelFixed>(fact)) {
      facts.taken.push_back(*record);
    } else if (std::holds_alternative<WorkFailed>(fact)) {
      facts.failed.push_back(*record);
    }
  }
  return facts;
}

bool Acknowledged(const Actions& actions, TaskId task) {
  for (const Action& action : actions) {
    const auto* ack = std::get_if<SendAck>(&action);
    if (ack != nullptr && ack->task == task) return true;
  }
  return false;
}

std::string SubnetName(const std::shared_ptr<const Subnet>& subnet) {
  return subnet == nullptr ? "dense" : Fingerprint(*subnet);
}

}  // namespace

std::string NameOfWork(JobId job, const Work& work) {
  std::string name = absl::StrCat(job, "/", work.index(), "/");
  if (const auto* evaluate = std::get_if<EvaluateWork>(&work)) {
    return absl::StrCat(name, SubnetName(evaluate->subnet), "/", evaluate->data_set, "/",
                        evaluate->first, "+", evaluate->count, "/",
                        static_cast<int>(evaluate->reformation.method));
  }
  if (const auto* reform = std::get_if<ReformWork>(&work)) {
    return absl::StrCat(name, SubnetName(reform->subnet));
  }
  return name;
}

std::optional<Outcome> AnswerLedger::Task::Answer() const {
  if (answers.size() < stages.size()) return std::nullopt;
  std::vector<std::pair<StageRange, Outcome>> parts;
  for (const auto& [worker, range] : stages) parts.emplace_back(range, answers.at(worker));
  std::sort(parts.begin(), parts.end(),
            [](const auto& a, const auto& b) { return a.first.first < b.first.first; });
  std::vector<StageRange> split;
  std::vector<Outcome> outcomes;
  for (auto& [range, outcome] : parts) {
    split.push_back(range);
    outcomes.push_back(std::move(outcome));
  }
  if (!std::holds_alternative<LoadWork>(work)) {
    absl::StatusOr<Outcome> merged = MergeOutcomes(outcomes, split);
    return merged.ok() ? std::optional<Outcome>(*std::move(merged)) : std::nullopt;
  }
  LoadResult whole;
  for (const Outcome& outcome : outcomes) {
    const auto* part = std::get_if<LoadResult>(&outcome);
    if (part == nullptr || !MergeDigest(part->digest, &whole.digest).ok()) return std::nullopt;
  }
  return whole;
}

// Whether the fact holds the answer to this task.
bool AnswerLedger::IsOf(const RecordFact& record, const Task& task) {
  const std::optional<Outcome> answer = task.Answer();
  if (record.job != task.job || !answer.has_value()) return false;
  if (const auto* model = std::get_if<ModelFixed>(&record.entry.fact)) {
    const auto* loaded = std::get_if<LoadResult>(&*answer);
    return loaded != nullptr && HashOf(loaded->digest) == model->hash;
  }
  const auto& done = std::get<WorkDone>(record.entry.fact);
  if (done.key.kind != task.work.index() || done.outcome.index() != answer->index()) return false;
  const auto* evaluate = std::get_if<EvaluateWork>(&task.work);
  if (evaluate == nullptr) return true;
  return done.key.first == evaluate->first && std::get<EvaluateResult>(done.outcome).nll_sums ==
                                                  std::get<EvaluateResult>(*answer).nll_sums;
}

std::string AnswerLedger::CheckStep(const Event* event, const Actions& actions, TimeMs now) {
  std::string broken;
  for (const Action& action : actions) {
    const auto* record = std::get_if<RecordAnswer>(&action);
    if (record != nullptr) known_.insert(record->answer.nll_sums);
  }
  const auto* answer = event == nullptr ? nullptr : std::get_if<TaskFinished>(event);
  if (answer != nullptr) {
    broken = CheckAnswer(*answer, actions);
  } else {
    for (const RecordFact& fact : FactsIn(actions).taken) {
      if (!IsRecalled(fact)) broken = "an answer was taken that nobody gave";
    }
  }
  if (event != nullptr) Hear(*event, now);
  if (broken.empty() && event != nullptr && std::holds_alternative<Tick>(*event)) {
    broken = CheckLeases(actions, now);
  }
  for (const Action& action : actions) Follow(action, now);
  return broken;
}

// Whether the fact holds what somebody answered earlier: for another job, or in an earlier life.
bool AnswerLedger::IsRecalled(const RecordFact& record) const {
  const auto* done = std::get_if<WorkDone>(&record.entry.fact);
  const auto* losses = done == nullptr ? nullptr : std::get_if<EvaluateResult>(&done->outcome);
  return losses != nullptr && known_.count(losses->nll_sums) > 0;
}

std::string AnswerLedger::CheckAnswer(const TaskFinished& answer, const Actions& actions) {
  const Facts facts = FactsIn(actions);
  const auto worker = workers_.find(answer.worker);
  if (worker == workers_.end()) {
    return facts.empty() ? "" : "an answer was taken from a worker whose lease is over";
  }
  if (worker->second.open.count(answer.task) == 0) {
    return facts.empty() ? "" : "an answer was taken to a task that is not open";
  }
  if (answer.epoch != worker->second.epoch) {
    return facts.empty() ? "" : "an answer was taken under an old epoch";
  }
  Task& task = tasks_.at(answer.task);
  if (answer.status.ok()) task.answers.emplace(answer.worker, answer.outcome);  // the first one
  size_t stored = 0;
  for (const RecordFact& fact : facts.taken) {
    // A candidate may come again at once, on the same window: that fact repeats a known answer.
    if (IsOf(fact, task) && (stored == 0 || !IsRecalled(fact))) {
      ++stored;
    } else if (IsRecalled(fact)) {
      continue;
    } else {
      return "an answer was stored as another one";
    }
    if (!answer.status.ok()) return "an error was taken for an answer";
  }
  if (stored > 1) return "one answer was stored twice";
  if (!Acknowledged(actions, answer.task)) return "";
  if (task.stored && facts.empty()) {
    return "an answer was acknowledged that is not stored";
  }
  // A worker's second load of a model settles nothing, and nor does an export.
  if (facts.empty()) return "";
  // What follows from it for candidates that are known comes after the acknowledgement.
  const auto count = static_cast<int64_t>(stored + facts.failed.size());
  promises_[answer.task] = {.worker = answer.worker,
                            .job = task.job,
                            .facts = recorded_[task.job] + count,
                            .done = task.stored && stored > 0};
  return "";
}

std::string AnswerLedger::CheckLeases(const Actions& actions, TimeMs now) const {
  std::set<WorkerKey> closed;
  for (const Action& action : actions) {
    if (const auto* close = std::get_if<CloseWorker>(&action)) closed.insert(close->worker);
  }
  for (const auto& [key, worker] : workers_) {
    if (now - worker.last_heard > lease_ && closed.count(key) == 0) {
      return "a worker was kept although its lease is over";
    }
  }
  return "";
}

void AnswerLedger::Hear(const Event& event, TimeMs now) {
  if (const auto* lost = std::get_if<WorkerLost>(&event)) workers_.erase(lost->worker);
  if (const auto* left = std::get_if<WorkerLeft>(&event)) workers_.erase(left->worker);
  WorkerKey heard = kNobody;
  if (const auto* heartbeat = std::get_if<WorkerHeartbeat>(&event)) heard = heartbeat->worker;
  if (const auto* answer = std::get_if<TaskFinished>(&event)) heard = answer->worker;
  const auto worker = workers_.find(heard);
  if (worker != workers_.end()) worker->second.last_heard = now;
}

void AnswerLedger::Follow(const Action& action, TimeMs now) {
  if (const auto* welcome = std::get_if<SendWelcome>(&action)) {
    workers_[welcome->worker] = {.epoch = welcome->epoch, .last_heard = now, .open = {}};
  } else if (const auto* close = std::get_if<CloseWorker>(&action)) {
    workers_.erase(close->worker);
  } else if (const auto* dismissed = std::get_if<DismissWorker>(&action)) {
    workers_.erase(dismissed->worker);
  } else if (const auto* record = std::get_if<RecordFact>(&action)) {
    ++recorded_[record->job];
  } else if (const auto* send = std::get_if<SendTask>(&action)) {
    const auto worker = workers_.find(send->worker);
    if (worker == workers_.end()) return;
    worker->second.open.insert(send->task);
    Task& task = tasks_[send->task];
    task.job = send->job;
    task.work = send->work;
    // The model's content is settled by whoever loads it first, an export is made anew, and a
    // calibration after the first one only prepares a replica.
    task.stored = !std::holds_alternative<LoadWork>(send->work) &&
                  !std::holds_alternative<ExportWork>(send->work) &&
                  (!std::holds_alternative<CalibrateWork>(send->work) ||
                   brain_phases_[send->job] <= JobPhase::kCalibrate);
    task.stages[send->worker] = send->stage;
  } else if (const auto* join = std::get_if<SendJoin>(&action)) {
    const auto worker = workers_.find(join->worker);
    if (worker == workers_.end()) return;
    worker->second.epoch = join->epoch;
    worker->second.open.clear();
  } else if (const auto* event = std::get_if<PublishEvent>(&action)) {
    brain_phases_[event->job] = event->progress.phase;
  } else if (const auto* cancel = std::get_if<SendCancel>(&action)) {
    workers_[cancel->worker].open.erase(cancel->task);
  } else if (const auto* ack = std::get_if<SendAck>(&action)) {
    workers_[ack->worker].open.erase(ack->task);
  }
}

std::string AnswerLedger::CheckAction(const Action& action) {
  if (const auto* record = std::get_if<RecordFact>(&action)) ++stored_[record->job];
  if (const auto* event = std::get_if<PublishEvent>(&action)) {
    phases_[event->job] = event->progress.phase;
  }
  if (const auto* ack = std::get_if<SendAck>(&action)) return CheckAck(*ack);
  if (const auto* send = std::get_if<SendTask>(&action)) return CheckTask(*send);
  return "";
}

std::string AnswerLedger::CheckAck(const SendAck& ack) {
  const auto promise = promises_.find(ack.task);
  if (promise == promises_.end() || promise->second.worker != ack.worker) return "";
  if (stored_[promise->second.job] < promise->second.facts) {
    return "an answer was acknowledged before it was stored";
  }
  const auto sent = sent_.find(ack.task);
  if (promise->second.done && sent != sent_.end()) answered_.insert(sent->second);
  return "";
}

std::string AnswerLedger::CheckTask(const SendTask& send) {
  // Later phases measure what the search has seen once more, for the time it takes.
  const JobPhase phase = phases_[send.job];
  if (phase > JobPhase::kReform) return "";
  const std::string name =
      absl::StrCat(static_cast<int>(phase), "/", NameOfWork(send.job, send.work));
  if (answered_.count(name) > 0) return "an acknowledged answer was lost: its task came again";
  sent_[send.task] = name;
  return "";
}

void AnswerLedger::CoordinatorDied() {
  workers_.clear();
  tasks_.clear();
  brain_phases_ = phases_;
  promises_.clear();
  recorded_ = stored_;
}

}  // namespace espalier::testing_fakes
