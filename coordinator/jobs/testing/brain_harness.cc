#include "coordinator/jobs/testing/brain_harness.h"

#include "absl/strings/str_cat.h"

namespace espalier::testing_fakes {

BrainHarness::BrainHarness()
    : brain_({.lease = kHarnessLease, .most_failures = 2, .version = kTestVersion}, &searches_) {}

void BrainHarness::Handle(const Event& event) {
  brain_.Handle(event, now_, &actions_);
  GoOn();
}

void BrainHarness::GoOn() {
  while (brain_.HasMore()) brain_.GoOn(now_, &actions_);
  Collect();
}

void BrainHarness::Collect() {
  for (const SendTask& task : Taken<SendTask>()) open_.push_back(task);
  for (const AppendPopulation& append : Taken<AppendPopulation>()) {
    populations_[append.job] += append.lines;
  }
  for (const SendCancel& cancel : Taken<SendCancel>()) {
    std::erase_if(open_, [&](const SendTask& task) {
      return task.task == cancel.task && task.worker == cancel.worker;
    });
  }
  for (const SendJoin& join : Taken<SendJoin>()) {
    joins_.push_back(join);
    std::erase_if(open_, [&](const SendTask& task) {
      return task.worker == join.worker && task.epoch != join.epoch;
    });
  }
  for (const RecordAnswer& record : Taken<RecordAnswer>()) {
    stored_answers_[record.context].emplace(record.subnet, record.answer);
  }
  // Carrying these out takes another step, which may ask for more.
  for (const PrepareJob& prepare : Taken<PrepareJob>()) {
    Handle(JobPrepared{.job = prepare.job, .prepared = Prepared(*prepare.spec)});
  }
  for (const RecallAnswers& recall : Taken<RecallAnswers>()) {
    AnswersRecalled recalled{.context = recall.context, .answers = {}};
    for (const auto& answer : stored_answers_[recall.context]) recalled.answers.push_back(answer);
    Handle(recalled);
  }
}

JobId BrainHarness::Submit(const JobSpec& spec) {
  const absl::StatusOr<JobId> id = brain_.Submit(spec, "", now_, &actions_);
  GoOn();
  return *id;
}

void BrainHarness::Attach(WorkerKey worker) {
  Handle(WorkerAttached{.worker = worker, .info = Info(absl::StrCat("host-", worker))});
}

void BrainHarness::Heartbeat(WorkerKey worker, TaskId task, double progress) {
  Handle(WorkerHeartbeat{.worker = worker, .task = task, .progress = progress, .activity = "busy"});
}

void BrainHarness::Close(const SendTask& task) {
  std::erase_if(open_, [&](const SendTask& open) {
    return open.task == task.task && open.worker == task.worker;
  });
}

void BrainHarness::AnswerWith(const SendTask& sent, const Outcome& outcome,
                              const TaskNotes& notes) {
  const SendTask task = sent;  // it may be an element of open_
  Close(task);
  Handle(TaskFinished{.worker = task.worker,
                      .task = task.task,
                      .epoch = task.epoch,
                      .status = absl::OkStatus(),
                      .outcome = outcome,
                      .notes = notes});
}

void BrainHarness::Answer(const SendTask& task) { AnswerWith(task, FakeAnswer(task)); }

void BrainHarness::FailWith(const SendTask& sent, const absl::Status& status) {
  const SendTask task = sent;
  Close(task);
  Handle(TaskFinished{.worker = task.worker,
                      .task = task.task,
                      .epoch = task.epoch,
                      .status = status,
                      .outcome = {},
                      .notes = {.seconds = 0.5}});
}

void BrainHarness::RunUntil(const std::function<bool(const SendTask&)>& stop) {
  while (true) {
    for (const FinishOutput& finish : Taken<FinishOutput>()) {
      Handle(OutputDone{.job = finish.job, .status = absl::OkStatus()});
    }
    for (const SendTask& task : open_) {
      if (stop(task)) return;
    }
    if (open_.empty()) return;
    const SendTask next = open_.front();
    Advance(1);
    Answer(next);
  }
}

void BrainHarness::RunToEnd() {
  RunUntil([](const SendTask&) { return false; });
}

void BrainHarness::RunToSearch(int workers) {
  for (int i = 1; i <= workers; ++i) Attach(i);
  Submit(TinySpec(1, "/results/1"));
  RunUntil([this](const SendTask& task) {
    return std::holds_alternative<EvaluateWork>(task.work) &&
           Job().progress.phase == JobPhase::kInitialize;
  });
}

std::string BrainHarness::Messages() {
  std::string messages;
  for (const PublishEvent& event : Taken<PublishEvent>()) {
    if (!event.message.empty()) absl::StrAppend(&messages, event.message, "\n");
  }
  return messages;
}

std::string BrainHarness::Population(JobId id) const {
  const auto it = populations_.find(id);
  return it == populations_.end() ? "" : it->second;
}

std::string FingerprintOf(const SendTask& task) {
  return Fingerprint(*std::get<EvaluateWork>(task.work).subnet);
}

}  // namespace espalier::testing_fakes
