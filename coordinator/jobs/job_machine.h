// One job from submission to result: LOAD → CALIBRATE → INITIALIZE → SEARCH → REFORM → EVALUATE →
// EXPORT; with several sizes, from INITIALIZE on for each. Says what work there is and takes the
// answers; who does it is the brain's business.
//
// Deterministic: what ends up in the population log and the result depends on the specification and
// the answers alone, not on their order or on who gave them.
#ifndef ESPALIER_COORDINATOR_JOBS_JOB_MACHINE_H_
#define ESPALIER_COORDINATOR_JOBS_JOB_MACHINE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "coordinator/jobs/actions.h"
#include "coordinator/jobs/answer_book.h"
#include "coordinator/jobs/closing_table.h"
#include "coordinator/jobs/generation_board.h"
#include "coordinator/jobs/job_reporter.h"
#include "coordinator/jobs/model_holders.h"
#include "coordinator/jobs/result_files.h"
#include "coordinator/jobs/search_factory.h"
#include "coordinator/jobs/work_queue.h"

namespace espalier {

// What all jobs of a coordinator share. The pointers outlive the jobs.
struct JobSurroundings {
  // A piece of work that failed so often is given up: a candidate gets the fitness +infinity, in
  // any other phase the job fails.
  int most_failures = 2;
  std::string version;  // of this program and its workers
  const SearchFactory* searches = nullptr;
  AnswerBook* answers = nullptr;
};

class JobMachine {
 public:
  JobMachine(JobId id, std::shared_ptr<const JobSpec> spec, TimeMs created,
             const JobSurroundings& surroundings);

  // One of these, once. Start publishes the first event; Resume brings the job, once it is
  // prepared, to where its journal ends. Both ask for the preparation.
  void Start(const Step& step);
  void Resume(const Step& step, StoredJob stored);

  const JobView& view() const { return reporter_.view(); }
  bool finished() const { return IsFinal(view().state); }
  JobReporter& reporter() { return reporter_; }
  // As every replica is given it; one stage's, with the hash of its own tensors.
  ModelRef model() const;
  ModelRef model(const Replica& replica, size_t stage) const;

  // Stages. How many, unless the specification says it, depends on the memory of the workers at
  // hand: the fewest that fit, or else as many as there are workers. Decided anew while no replica
  // holds the model; 0 before that, or before the job is prepared.
  bool MayChooseStages() const;
  void ChooseStages(const std::vector<WorkerInfo>& workers);
  int64_t stages() const { return static_cast<int64_t>(split_.size()); }
  const std::vector<StageRange>& split() const { return split_; }

  void Prepared(const Step& step, const absl::StatusOr<PreparedJob>& prepared);
  // A prepared job with a journal goes through it, `most` entries a call, before it wants workers.
  bool Replaying() const { return job_.has_value() && !finished() && !journal_.empty(); }
  void Replay(const Step& step, size_t most);
  void OutputWritten(const Step& step, const absl::Status& status);
  void Cancel(const Step& step, const std::string& reason);
  // A paused job is given no new tasks; what it has in hand is finished.
  void Pause(const Step& step) { reporter_.Pause(step); }
  void Unpause(const Step& step) { reporter_.Unpause(step); }

  // Replicas and the model. A replica gets work only when it is ready (ModelHolders).
  bool WantsWorkers() const;
  // Prepared, and neither finished nor paused; with workers once its journal is replayed.
  bool TakesPart() const;
  bool MayHaveWorkers() const;
  // Its search goes on, or has not begun.
  bool searching() const { return view().progress.phase <= JobPhase::kSearch; }
  int64_t priority() const { return view().spec->priority; }
  // How many replicas it can use while others want them too; `open` tasks are assigned. At the end
  // of a job, where there is less to do, it never grows: what is given away is not asked back.
  size_t Demand(int64_t open) const;
  const ModelHolders& holders() const { return holders_; }
  bool Refuses(const Replica& replica) const;
  WorkItem StartLoad(const Step& step, ReplicaKey replica);
  // All stages have loaded their part, or one could not. When too few of the `attached` workers are
  // left for a replica, the job cannot begin.
  void Loaded(const Step& step, const Replica& replica, const std::vector<Outcome>& parts,
              size_t attached);
  void LoadFailed(const Step& step, const Replica& replica, size_t stage,
                  const absl::Status& status, size_t attached);
  void LoadLost(const Step& step, const Replica& replica, const std::string& label);
  void ReplicaGone(ReplicaKey replica) {
    holders_.Gone(replica);
    ReformedGone(replica);
  }
  void WorkerGone(WorkerKey worker) { holders_.WorkerGone(worker); }

  // Work. Each piece that was taken comes back through exactly one of Done, Return and Failed; of
  // an answer that makes no sense Done says why, and then Failed is to be called.
  bool HasWork() const { return !queue_.empty() || drawing_; }
  // Candidates whose answers are known are settled on the way, some in a step; the rest is for
  // another one.
  std::optional<WorkItem> Take(const Step& step, ReplicaKey replica);
  void BeginStep() {
    recalled_in_step_ = 0;
    more_to_recall_ = false;
  }
  bool HasMoreToRecall() const { return more_to_recall_; }
  absl::Status Done(const Step& step, const WorkItem& item, ReplicaKey replica, TaskId task,
                    const Outcome& outcome, const TaskNotes& notes);
  void Return(WorkItem item, ReplicaKey replica);  // without blame
  // `worker` said so; kNobody: it was lost meanwhile. `attached` as for Loaded.
  void Failed(const Step& step, WorkItem item, const Replica& replica, WorkerKey worker,
              const std::string& reason, size_t attached);
  // The stages of a replica lost each other: not the work's fault, but it must not go on for ever.
  void LinkLost(const Step& step, const std::string& reason);
  // The replica was given work that makes it forget this job's statistics.
  void StatisticsGone(ReplicaKey replica);
  // Whether a replica that does this has the job's statistics. Not before the job is prepared.
  bool SharesStatistics(const CalibrateWork& work) const;
  // Equal for jobs that need the same statistics.
  std::string StatisticsId() const;

 private:
  void EnterPhase(const Step& step, JobPhase phase, int64_t total, const std::string& unit,
                  const std::string& message);
  void Fail(const Step& step, const std::string& error);
  void Record(const Step& step, Fact fact);
  void EndReplay(const Step& step);
  absl::Status Repeat(const Step& step, const JournalEntry& entry);
  absl::Status Repeat(const Step& step, const TextsFixed& fact);
  absl::Status Repeat(const Step& step, const ModelFixed& fact);
  absl::Status Repeat(const Step& step, const WorkDone& fact);
  absl::Status Repeat(const Step& step, const WorkFailed& fact);
  absl::Status Repeat(const Step& step, const SizeWritten& fact);
  void PreludeFailed(const Step& step, const Replica& replica, WorkerKey worker,
                     const std::string& reason, size_t attached);
  void ItemFailed(const Step& step, WorkItem item, ReplicaKey replica, const std::string& reason);
  void TryAgain(const Step& step, WorkItem item, ReplicaKey replica, const std::string& reason);
  absl::Status Accept(const Step& step, const WorkItem& item, TaskId task, const Outcome& outcome,
                      const TaskNotes& notes);
  void Charge(const WorkItem& item, const TaskNotes& notes);
  // Says each once.
  void Warn(const Step& step, const std::vector<std::string>& warnings);
  void LoadRefused(const Step& step, const std::string& label, const absl::Status& status,
                   size_t attached);
  void ReformedGone(ReplicaKey replica);
  WorkItem CalibrationItem() const;
  void OpenAnswers(const Step& step);
  const EvaluateResult* Known(const WorkItem& item) const;

  void StartCalibration(const Step& step, const std::string& worker);
  CalibrateWork Calibration() const;
  absl::Status AcceptScores(const Step& step, const CalibrateResult& result);
  void StartSize(const Step& step);
  void FinishSize(const Step& step);
  bool several_sizes() const { return targets_.size() > 1; }
  std::string part() const;
  void NextGeneration(const Step& step);
  bool DrawCandidate();
  void QueueCandidate();
  std::optional<WorkItem> Reopen(const WorkKey& key);
  void ClearWork();
  absl::Status AcceptCandidate(const Step& step, const WorkItem& item,
                               const EvaluateResult& result);
  void CandidateFailed(const Step& step, const WorkItem& item, const std::string& reason);
  void CandidateSettled(const Step& step, int64_t index, const std::string& initial_message);
  void SettleGeneration(const Step& step);
  void StartReformation(const Step& step);
  absl::Status AcceptReformation(const Step& step, const ReformResult& result);
  void FinishReformation(const Step& step);
  void StartEvaluation(const Step& step);
  absl::Status AcceptMeasurement(const Step& step, const WorkItem& item,
                                 const EvaluateResult& result, double seconds);
  void StartExport(const Step& step);
  void FinishExport(const Step& step, TaskId task);
  std::shared_ptr<const ResultView> BuildResult(double seconds) const;
  std::vector<FinishOutput::File> Summary() const;
  bool Reforms() const;
  Row ResultRow() const;

  JobReporter reporter_;
  const JobSurroundings surroundings_;
  WorkQueue queue_;
  ModelHolders holders_;
  std::vector<StageRange> split_;                     // the layers of each stage
  std::vector<std::set<std::string>> stage_tensors_;  // their names; empty: not made yet
  ReplicaKey reformed_on_ = kNobody;  // that has the reformed weights, or is about to make them
  int lost_loads_ = 0;
  // Since a calibration was last done: those that only prepared a replica and failed, by worker,
  // and in which a worker was lost.
  std::map<WorkerKey, int> failed_preludes_;
  int lost_preludes_ = 0;
  int lost_links_ = 0;                 // since something was last done
  std::vector<JournalEntry> journal_;  // to be replayed when the job is prepared
  size_t replayed_ = 0;                // entries of it
  std::optional<PreparedJob> job_;     // its specification: of the size at hand

  std::vector<JobSpec> targets_;  // a specification for each size
  size_t size_ = 0;               // at hand, of these
  size_t written_ = 0;            // sizes whose results an earlier life wrote
  CalibrateResult statistics_;

  std::unique_ptr<SubnetSearch> search_;
  GenerationBoard board_;
  bool drawing_ = false;      // the generation may have more candidates than were drawn
  int64_t candidates_ = 0;    // scored so far
  WorkSeconds work_seconds_;  // of the size at hand
  std::vector<std::string> warnings_;
  std::string context_;  // of the candidates' answers
  std::shared_ptr<KnownAnswers> known_;
  int64_t recalled_ = 0;  // candidates that nobody had to evaluate
  int recalled_in_step_ = 0;
  bool more_to_recall_ = false;
  ClosingTable table_;
  int64_t open_items_ = 0;  // of REFORM's and EVALUATE's measurements
  std::vector<LinearFit> fits_;
  std::shared_ptr<const ResultView> result_;  // measured, not yet written

  TimeMs phase_start_ = 0;
  TimeMs size_start_ = 0;
  std::vector<PhaseSeconds> phases_;  // of the size at hand
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_JOBS_JOB_MACHINE_H_
