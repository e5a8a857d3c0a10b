// What becomes of the workers' answers, kept by somebody who does not trust the brain: whether the
// one who answers may, whether what was taken is stored, and whether what was acknowledged stays.
//
// It follows events and actions with rules of its own (leases, epochs, open tasks), which are those
// of coordinator/README.md once more, and compares.
#ifndef ESPALIER_COORDINATOR_JOBS_TESTING_ANSWER_LEDGER_H_
#define ESPALIER_COORDINATOR_JOBS_TESTING_ANSWER_LEDGER_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "coordinator/jobs/actions.h"

namespace espalier::testing_fakes {

// The same for all attempts at the same piece of work, and for no other.
std::string NameOfWork(JobId job, const Work& work);

class AnswerLedger {
 public:
  explicit AnswerLedger(TimeMs lease) : lease_(lease) {}

  // Both say in words what is broken; empty when nothing is.

  // A step of the brain, before anything of it is stored. `event` is what the workers really sent;
  // null for a client's call or a restart.
  std::string CheckStep(const Event* event, const Actions& actions, TimeMs now);
  // An action as it is carried out.
  std::string CheckAction(const Action& action);

  // What was not stored is as if it had never been.
  void CoordinatorDied();

 private:
  struct Task {
    JobId job = 0;
    Work work;
    bool stored = false;                     // its answer belongs into the store
    std::map<WorkerKey, StageRange> stages;  // in their order: workers join in theirs
    std::map<WorkerKey, Outcome> answers;    // of those that went well

    // What all stages say together; nothing as long as one is missing.
    std::optional<Outcome> Answer() const;
  };
  struct Worker {
    uint64_t epoch = 0;
    TimeMs last_heard = 0;
    std::set<TaskId> open;
  };
  // What is to be in the store when the task is acknowledged to this worker.
  struct Promise {
    WorkerKey worker = kNobody;
    JobId job = 0;
    int64_t facts = 0;  // of the job so far
    bool done = false;  // or the attempt failed
  };

  std::string CheckAck(const SendAck& ack);
  std::string CheckTask(const SendTask& send);
  std::string CheckAnswer(const TaskFinished& answer, const Actions& actions);
  bool IsRecalled(const RecordFact& record) const;
  static bool IsOf(const RecordFact& record, const Task& task);
  std::string CheckLeases(const Actions& actions, TimeMs now) const;
  void Hear(const Event& event, TimeMs now);
  void Follow(const Action& action, TimeMs now);

  const TimeMs lease_;
  std::map<WorkerKey, Worker> workers_;  // that the brain has to know
  std::map<TaskId, Task> tasks_;
  std::map<JobId, JobPhase> brain_phases_;  // before they are carried out
  std::map<JobId, int64_t> recorded_;       // facts, by the brain
  std::map<JobId, int64_t> stored_;
  std::map<TaskId, Promise> promises_;
  std::map<JobId, JobPhase> phases_;
  std::map<TaskId, std::string> sent_;   // names of their work
  std::set<std::string> answered_;       // work whose answer was acknowledged
  std::set<std::vector<double>> known_;  // losses of candidates that were taken once
};

}  // namespace espalier::testing_fakes

#endif  // ESPALIER_COORDINATOR_JOBS_TESTING_ANSWER_LEDGER_H_
