// The coordinator's brain: jobs, workers, leases and dispatch as one deterministic state machine.
//
// Events and times go in, actions come out, in the order in which they must be carried out. It
// knows no gRPC, files, threads or clock, so a test can run thousands of cluster histories from
// seeds. Not thread-safe: the caller serialises.
//
//   Brain brain(options, &searches);
//   Actions actions;
//   brain.Handle(WorkerAttached{.worker = 1, .info = info}, now, &actions);
//   for (const Action& action : actions) CarryOut(action);
//
// What it guarantees, whatever the order of events: every candidate counts once; a result counts
// only while the task that it answers is assigned to the replica of the worker that sends it, under
// that replica's epoch; tasks of a lost replica are first in line again; states go QUEUED → RUNNING
// → SUCCEEDED, FAILED or CANCELLED, and a final state stays.
//
// Dispatch (brain_dispatch.cc) shares the workers among the jobs (allotment.h), forms the replicas
// that those need, and gives each of them tasks as long as its window has room.
#ifndef ESPALIER_COORDINATOR_JOBS_BRAIN_H_
#define ESPALIER_COORDINATOR_JOBS_BRAIN_H_

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/jobs/actions.h"
#include "coordinator/jobs/allotment.h"
#include "coordinator/jobs/job_machine.h"
#include "coordinator/jobs/replica_registry.h"
#include "coordinator/jobs/search_factory.h"
#include "coordinator/jobs/task_shares.h"
#include "coordinator/jobs/worker_registry.h"

namespace espalier {

struct BrainOptions {
  TimeMs lease = 10000;
  // A piece of work that lost this many workers, or failed this often, is given up.
  int most_failures = 2;
  std::string version;  // that workers must have
  // How often a coordinator with the same store was started before. Epochs and task ids of each
  // life are their own, so that what a worker of an earlier one sends is recognised.
  uint64_t life = 0;
  // A step gives so many tasks, or replays so many entries of a journal, and leaves the rest to
  // GoOn. Each may draw a candidate, which takes milliseconds for a large model, and heartbeats
  // should not wait behind a thousand of them.
  int most_a_step = 2;
};

class Brain {
 public:
  // `searches` outlives the brain.
  Brain(const BrainOptions& options, const SearchFactory* searches);

  // Before anything else, with what a store kept: jobs that ended (with their view), and such that
  // go on. Actions ask for the latters' preparation.
  // `last_job`: the highest number that any job ever had.
  void RestoreLastJob(JobId last_job) { last_job_ = std::max(last_job_, last_job); }
  void RestoreFinished(const JobView& view, const std::string& idempotency_key);
  void Restore(StoredJob job, TimeMs now, Actions* actions);

  void Handle(const Event& event, TimeMs now, Actions* actions);
  // Whether there is more to do than one step should: then GoOn wants to be called soon, between
  // other events. So nothing waits long for its turn, however much there is.
  bool HasMore() const { return more_; }
  void GoOn(TimeMs now, Actions* actions);

  // `spec` is valid (ValidateJobSpec). A key that was used before returns that job; ALREADY_EXISTS
  // when an unfinished job writes to the same output.
  absl::StatusOr<JobId> Submit(const JobSpec& spec, const std::string& idempotency_key, TimeMs now,
                               Actions* actions);
  // The job of an earlier submission with this key.
  std::optional<JobId> FindSubmission(const std::string& idempotency_key) const;
  // Nothing happens to a job that is finished. NOT_FOUND for an unknown one.
  absl::Status Cancel(JobId job, const std::string& reason, TimeMs now, Actions* actions);
  // A paused job keeps what it has and gets no new tasks until it is resumed, also across a
  // restart. NOT_FOUND for an unknown job; FAILED_PRECONDITION for one that has ended.
  absl::Status Pause(JobId job, TimeMs now, Actions* actions);
  absl::Status Resume(JobId job, TimeMs now, Actions* actions);
  // Forgets a job that has ended. Its result stays. FAILED_PRECONDITION before that.
  absl::Status Delete(JobId job, Actions* actions);
  // The worker of that number ("worker-<number>") finishes what it has and is then sent away.
  // NOT_FOUND when there is none.
  absl::Status Drain(uint64_t number, TimeMs now, Actions* actions);
  void CancelAll(const std::string& reason, TimeMs now, Actions* actions);

  // NOT_FOUND says which jobs there are.
  absl::StatusOr<JobView> Job(JobId job) const;
  // All unfinished jobs, and of the finished ones the newest, `most` in all at the most (or more,
  // when more are unfinished), in the order of submission. Takes no longer the more have finished.
  std::vector<JobView> Jobs(size_t most) const;
  std::vector<JobView> Jobs() const { return Jobs(std::numeric_limits<size_t>::max()); }
  JobCounts CountJobs() const;  // of all jobs that are not deleted
  std::vector<WorkerView> Workers() const;
  // OK while `task` is an export of `job`, assigned under `epoch`: its files may be taken.
  absl::Status CheckUpload(JobId job, TaskId task, uint64_t epoch) const;
  // As CheckUpload, when a part of a file has come: a sign of life. On a slow link heartbeats wait
  // behind an upload for longer than a lease.
  absl::Status UploadCame(JobId job, TaskId task, uint64_t epoch, int64_t first_layer, TimeMs now);

 private:
  struct Assignment {
    JobId job = 0;
    ReplicaKey replica = 0;
    WorkItem item;
    std::vector<std::optional<TaskFinished>> answers;  // by stage

    bool Complete() const;
  };

  // Path of the model, precision, stages, and the statistics: a worker keeps those of one text.
  using Kind = std::tuple<std::string, Precision, int64_t, std::string>;
  // Jobs that the same replicas can serve, oldest first.
  struct ClaimOfJobs {
    Kind kind;
    Claim claim;
    std::vector<JobId> jobs;
  };
  // What the allotment depends on, of one job.
  struct JobStanding {
    JobId job = 0;
    bool wants = false;
    int64_t stages = 0;
    JobPhase phase = JobPhase::kLoad;
    size_t refused = 0;

    friend bool operator==(const JobStanding&, const JobStanding&) = default;
  };

  void On(const WorkerAttached& event, const Step& step);
  void On(const WorkerLost& event, const Step& step);
  void On(const WorkerLeft& event, const Step& step);
  void On(const WorkerHeartbeat& event, const Step& step);
  void On(const TaskFinished& event, const Step& step);
  void On(const JobPrepared& event, const Step& step);
  void On(const OutputDone& event, const Step& step);
  void On(const AnswersRecalled& event, const Step& step);
  void On(const Tick& event, const Step& step);

  void Settle(const Step& step);  // after every event
  absl::Status Finished(JobId job, const std::string& what) const;
  void Replay(const Step& step);
  void RemoveWorker(const Step& step, WorkerKey key, const std::string& reason, bool blame);
  // Takes a task back from its replica. Stages that have not answered are told, but for `except`.
  Assignment Withdraw(const Step& step, TaskId task, WorkerKey except);
  void Acknowledge(const Step& step, const Assignment& assignment, TaskId task) const;
  void ReturnAssignment(const Step& step, const Replica& replica, Assignment assignment,
                        const AttachedWorker* blamed);
  void TakePart(const Step& step, const AttachedWorker& worker, Replica& replica,
                const TaskFinished& event);
  void TakeAnswer(const Step& step, const Replica& replica, Assignment assignment, TaskId task);
  void TaskFailed(const Step& step, const Replica& replica, Assignment assignment, size_t stage);
  // Dissolves it; its tasks return without blame. Says whose they are.
  std::set<JobId> GiveUp(const Step& step, Replica& replica);
  void LinkLost(const Step& step, Replica& replica, const std::string& reason);

  // brain_dispatch.cc
  void Regroup(const Step& step);
  void ChooseStages();
  bool JobsChanged();
  static Kind KindOf(const JobMachine& job);  // of one that may have workers
  std::vector<ClaimOfJobs> Claims();
  void EnterShares(const JobMachine& job);
  void Reallot();
  size_t CountReachable(const JobMachine& job) const;
  void DismissDrained(const Step& step);
  bool FormIfIdle(const Step& step, const Allotted& wanted);
  Replica& FormReplica(const Step& step, std::vector<WorkerKey> workers);
  void DissolveReplica(const Replica& replica);
  void Dispatch(const Step& step);
  std::vector<JobMachine*> Candidates(const Replica& replica);
  bool MayHaveTask(const JobMachine& job) const;
  bool AssignOne(const Step& step, Replica& replica);
  bool MayLoad(const Replica& replica, const JobMachine& job) const;
  void ForgetModels(const Replica& replica, const JobMachine& job);
  void Assign(const Step& step, Replica& replica, JobMachine& job, WorkItem item);
  void ForgetStatistics(const Replica& replica, const JobMachine& job, const Work& work);
  void SendDataSets(const Step& step, AttachedWorker& worker, JobId job, const Work& work);
  std::string WhoHasTheWorkers(const JobMachine& job) const;
  std::string WaitingFor(const JobMachine& job) const;

  void Retire(const Step& step);
  void CancelAssignments(const Step& step, JobId job);
  void UpdateWaiting(const Step& step);
  void PublishProgress(const Step& step);
  double InFlight(JobId job, JobPhase phase) const;
  JobMachine* FindActive(JobId job);

  BrainOptions options_;
  AnswerBook answers_;
  const JobSurroundings surroundings_;
  WorkerRegistry workers_;
  ReplicaRegistry replicas_;
  std::set<WorkerKey> loose_;          // workers whose replica was dissolved
  bool more_ = false;                  // this step did not do all that there is
  bool choose_stages_ = false;         // workers or jobs changed in a way that may matter for that
  bool reallot_ = false;               // workers or replicas did
  std::vector<JobStanding> standing_;  // when the workers were last allotted
  std::vector<ClaimOfJobs> claims_;
  std::vector<Allotted> planned_;  // replicas to be formed when their workers are idle
  TaskShares shares_;
  std::map<TaskId, Assignment> assignments_;
  std::map<JobId, std::unique_ptr<JobMachine>> active_;  // unfinished jobs, oldest first
  std::map<JobId, JobView> finished_;
  JobCounts finished_counts_;
  std::map<std::string, JobId> submissions_;  // by idempotency key
  JobId last_job_ = 0;
  TaskId last_task_ = 0;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_JOBS_BRAIN_H_
