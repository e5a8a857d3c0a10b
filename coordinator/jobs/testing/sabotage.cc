#include "coordinator/jobs/testing/sabotage.h"

#include <map>
#include <set>
#include <string>

#include "coordinator/jobs/testing/answer_ledger.h"

namespace espalier::testing_fakes {
namespace {

bool IsAnswer(const Action& action) {
  const auto* record = std::get_if<RecordFact>(&action);
  return record != nullptr && std::holds_alternative<WorkDone>(record->entry.fact);
}

// True for each `period`th call.
class Sometimes {
 public:
  explicit Sometimes(int period) : period_(period) {}
  bool operator()() { return ++calls_ % period_ == 0; }

 private:
  const int period_;
  int calls_ = 0;
};

class NoLeases : public Sabotage {
  void AtStart(BrainOptions& options) override { options.lease = TimeMs{1} << 40; }
};

// Knows every task and who has it.
class TaskWatcher : public Sabotage {
 protected:
  void OnActions(Actions& actions) override {
    for (const Action& action : actions) {
      if (const auto* send = std::get_if<SendTask>(&action)) {
        sent_[send->task] = *send;
        open_[send->task] = *send;
      } else if (const auto* ack = std::get_if<SendAck>(&action)) {
        Close(ack->worker, ack->task);
      } else if (const auto* cancel = std::get_if<SendCancel>(&action)) {
        Close(cancel->worker, cancel->task);
      } else if (const auto* close = std::get_if<CloseWorker>(&action)) {
        std::erase_if(open_, [&](const auto& o) { return o.second.worker == close->worker; });
        dead_.insert(close->worker);
      }
    }
  }
  // Acknowledged is also what a worker says of another one's task.
  void Close(WorkerKey worker, TaskId task) {
    const auto open = open_.find(task);
    if (open != open_.end() && open->second.worker == worker) open_.erase(open);
  }
  // The answer as one to `task`.
  static void Redirect(TaskFinished& answer, const SendTask& task) {
    answer.worker = task.worker;
    answer.task = task.task;
    answer.epoch = task.epoch;
  }

  std::map<TaskId, SendTask> sent_;
  std::map<TaskId, SendTask> open_;
  std::set<WorkerKey> dead_;
};

class AnswersOfTheDead : public TaskWatcher {
  void OnEvent(Event& event) override {
    auto* answer = std::get_if<TaskFinished>(&event);
    if (answer == nullptr || !answer->status.ok() || dead_.count(answer->worker) == 0) return;
    const auto sent = sent_.find(answer->task);
    if (sent == sent_.end() || sent->second.worker != answer->worker) return;
    if (std::holds_alternative<LoadWork>(sent->second.work)) return;  // each does its own
    const std::string work = NameOfWork(sent->second.job, sent->second.work);
    for (const auto& [id, task] : open_) {
      if (NameOfWork(task.job, task.work) != work) continue;
      return Redirect(*answer, task);
    }
  }
};

class AnyEpoch : public TaskWatcher {
  void OnEvent(Event& event) override {
    auto* answer = std::get_if<TaskFinished>(&event);
    if (answer == nullptr) return;
    const auto open = open_.find(answer->task);
    if (open != open_.end()) answer->epoch = open->second.epoch;
  }
};

class AnswersTwice : public TaskWatcher {
  void OnEvent(Event& event) override {
    auto* answer = std::get_if<TaskFinished>(&event);
    if (answer == nullptr || !answer->status.ok() || open_.count(answer->task) > 0) return;
    for (const auto& [id, task] : open_) {
      if (task.worker == answer->worker) return Redirect(*answer, task);
    }
  }
};

class HastyAck : public Sabotage {
  bool IsHasty(const Action& action) override { return std::holds_alternative<SendAck>(action); }
};

class LossyStore : public Sabotage {
  void OnActions(Actions& actions) override {
    std::erase_if(actions, [this](const Action& action) { return IsAnswer(action) && now_(); });
  }
  Sometimes now_{5};
};

// Does each action of a kind twice, sometimes.
class Twice : public Sabotage {
 public:
  explicit Twice(bool (*is_kind)(const Action&)) : is_kind_(is_kind) {}

 private:
  void OnActions(Actions& actions) override {
    Actions result;
    for (const Action& action : actions) {
      result.push_back(action);
      if (is_kind_(action) && now_()) result.push_back(action);
    }
    actions = result;
  }
  bool (*const is_kind_)(const Action&);
  Sometimes now_{3};
};

class NoSync : public Sabotage {
  void OnRestore(StoredJob& job) override {
    if (!job.journal.empty() && std::holds_alternative<WorkDone>(job.journal.back().fact)) {
      job.journal.pop_back();
    }
  }
};

class OneLife : public Sabotage {
  void AtStart(BrainOptions& options) override { options.life = 1; }
};

class LossyEar : public Sabotage {
  void OnEvent(Event& event) override {
    const auto* answer = std::get_if<TaskFinished>(&event);
    if (answer == nullptr || !now_()) return;
    event = WorkerHeartbeat{.worker = answer->worker, .activity = "working"};
  }
  Sometimes now_{20};
};

}  // namespace

std::unique_ptr<Sabotage> WithoutLeases() { return std::make_unique<NoLeases>(); }
std::unique_ptr<Sabotage> TakesAnswersOfTheDead() { return std::make_unique<AnswersOfTheDead>(); }
std::unique_ptr<Sabotage> IgnoresEpochs() { return std::make_unique<AnyEpoch>(); }
std::unique_ptr<Sabotage> TakesAnswersTwice() { return std::make_unique<AnswersTwice>(); }
std::unique_ptr<Sabotage> AcknowledgesBeforeCommit() { return std::make_unique<HastyAck>(); }
std::unique_ptr<Sabotage> StoresNotAll() { return std::make_unique<LossyStore>(); }
std::unique_ptr<Sabotage> StoresTwice() { return std::make_unique<Twice>(&IsAnswer); }
std::unique_ptr<Sabotage> LosesTheLastWrite() { return std::make_unique<NoSync>(); }
std::unique_ptr<Sabotage> ForgetsItsLife() { return std::make_unique<OneLife>(); }
std::unique_ptr<Sabotage> CountsCandidatesTwice() {
  return std::make_unique<Twice>(
      [](const Action& action) { return std::holds_alternative<AppendPopulation>(action); });
}
std::unique_ptr<Sabotage> LosesAnswers() { return std::make_unique<LossyEar>(); }

}  // namespace espalier::testing_fakes
