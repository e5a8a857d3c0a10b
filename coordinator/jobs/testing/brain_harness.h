// Drives a Brain step by step in tests: a clock, workers by number, and the actions since the last
// look.
#ifndef ESPALIER_COORDINATOR_JOBS_TESTING_BRAIN_HARNESS_H_
#define ESPALIER_COORDINATOR_JOBS_TESTING_BRAIN_HARNESS_H_

#include <functional>
#include <string>
#include <vector>

#include "coordinator/jobs/brain.h"
#include "coordinator/jobs/testing/fakes.h"

namespace espalier::testing_fakes {

class BrainHarness {
 public:
  BrainHarness();

  // The actions of all steps so far of type A, in order; forgets them.
  template <typename A>
  std::vector<A> Taken() {
    std::vector<A> taken;
    for (const Action& action : actions_) {
      if (const A* a = std::get_if<A>(&action)) taken.push_back(*a);
    }
    std::erase_if(actions_, [](const Action& action) { return std::holds_alternative<A>(action); });
    return taken;
  }

  void Handle(const Event& event);
  void Advance(TimeMs ms) { now_ += ms; }

  // Submits, and answers the preparation.
  JobId Submit(const JobSpec& spec);
  void Attach(WorkerKey worker);
  void Heartbeat(WorkerKey worker, TaskId task, double progress);

  // The right answer, or an error, to a task..
  void Answer(const SendTask& task);
  void AnswerWith(const SendTask& task, const Outcome& outcome,
                  const TaskNotes& notes = {.seconds = 0.5});
  void FailWith(const SendTask& task, const absl::Status& status);

  // Answers tasks (those that nobody took yet too) and finishes outputs until `stop` says so or
  // nothing is left to do. Tasks for which `stop` returned true are not answered.
  void RunUntil(const std::function<bool(const SendTask&)>& stop);
  void RunToEnd();
  // Runs until a task with work of type W was sent, and returns it.
  template <typename W>
  SendTask RunToTask() {
    SendTask found;
    RunUntil([&found](const SendTask& task) {
      if (found.task == 0 && std::holds_alternative<W>(task.work)) found = task;
      return found.task != 0;
    });
    return found;
  }
  // Attaches workers 1 to `workers` and submits a job, until they hold the model, with the first
  // candidates in their windows.
  void RunToSearch(int workers);
  // Where workers were told to join, in order.
  const std::vector<SendJoin>& joins() const { return joins_; }
  // Tasks that were sent and not answered, oldest first.
  std::vector<SendTask>& open() { return open_; }

  JobView Job(JobId id = 1) const { return *brain_.Job(id); }
  std::string Messages();  // of all events so far, one a line; forgets them
  std::string Population(JobId id = 1) const;
  Brain& brain() { return brain_; }
  TimeMs now() const { return now_; }
  Actions* actions() { return &actions_; }
  void GoOn();     // until the brain has nothing more to do
  void Collect();  // call after steps of one's own

 private:
  FakeSearchFactory searches_;
  Brain brain_;
  TimeMs now_ = 0;
  Actions actions_;
  void Close(const SendTask& task);

  std::vector<SendTask> open_;
  std::vector<SendJoin> joins_;
  std::map<JobId, std::string> populations_;
  std::map<std::string, std::map<std::string, EvaluateResult>> stored_answers_;  // by context
};

inline constexpr TimeMs kHarnessLease = 1000;

std::string FingerprintOf(const SendTask& task);  // of the subnet that it evaluates

}  // namespace espalier::testing_fakes

#endif  // ESPALIER_COORDINATOR_JOBS_TESTING_BRAIN_HARNESS_H_
