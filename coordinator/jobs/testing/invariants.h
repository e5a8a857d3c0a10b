// What must hold for the brain's actions, whatever happened before.
#ifndef ESPALIER_COORDINATOR_JOBS_TESTING_INVARIANTS_H_
#define ESPALIER_COORDINATOR_JOBS_TESTING_INVARIANTS_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "coordinator/jobs/actions.h"

namespace espalier::testing_fakes {

class Invariants {
 public:
  // What `action` breaks, in words; empty when nothing.
  std::string Check(const Action& action);
  // The next one writes the files of unfinished jobs anew.
  void CoordinatorDied();

 private:
  struct JobHistory {
    uint64_t last_event = 0;
    JobState state = JobState::kQueued;
    JobPhase phase = JobPhase::kLoad;
    double best = 0;
    std::set<std::string> finished;  // parts of its result, "" being the whole of it
    int64_t size = 1;
    bool released = false;
    bool was_paused = false;
    std::set<std::string> log;
  };
  struct WorkerHistory {
    uint64_t epoch = 0;
    bool closed = false;
    std::set<std::string> data_sets;
    std::set<TaskId> open;
    ModelRef model;  // that it was last told to load
  };

  std::string Of(const RecordJob& action);
  std::string Of(const RecordFact& action);
  std::string Of(const RecordAnswer&) { return ""; }
  std::string Of(const RecallAnswers&) { return ""; }
  std::string Of(const ForgetJob& action);
  std::string Of(const SendWelcome& action);
  std::string Of(const SendJoin& action);
  std::string Of(const CloseWorker& action);
  std::string Of(const DismissWorker& action);
  std::string Of(const SendDataSet& action);
  std::string Of(const SendTask& action);
  std::string Of(const SendCancel& action);
  std::string Of(const SendAck& action);
  std::string Of(const PrepareJob& action);
  std::string Of(const AppendPopulation& action);
  std::string Of(const FinishOutput& action);
  std::string Of(const ReleaseJob& action);
  std::string Of(const PublishEvent& action);

  std::set<std::string> keys_;
  std::map<JobId, JobHistory> jobs_;
  std::map<WorkerKey, WorkerHistory> workers_;
  std::map<uint64_t, size_t> replicas_;  // stages, by epoch
  std::map<TaskId, SendTask> tasks_;     // as the stage before was given it
  TaskId last_task_ = 0;
  uint64_t last_epoch_ = 0;
};

}  // namespace espalier::testing_fakes

#endif  // ESPALIER_COORDINATOR_JOBS_TESTING_INVARIANTS_H_
