// The brain with the world around it: a lock, a clock, the streams, the files, the event logs.
//
// Everything that happens goes through the lock to the brain, and the brain's actions are carried
// out under the same lock, so they keep their order. Nothing under the lock waits for network or
// disk: streams queue what they are to send, and files are written by background threads.
//
// With a store, a step's actions are carried out once what they change is on disk (Committer): no
// answer is acknowledged, no event shown and no task sent that a crash could undo.
#ifndef ESPALIER_COORDINATOR_SERVICE_CORE_H_
#define ESPALIER_COORDINATOR_SERVICE_CORE_H_

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "coordinator/jobs/brain.h"
#include "coordinator/service/background.h"
#include "coordinator/service/committer.h"
#include "coordinator/service/event_logs.h"
#include "coordinator/service/preparation.h"
#include "coordinator/service/result_folder.h"
#include "coordinator/service/wanted_mutex.h"
#include "coordinator/status/source.h"
#include "coordinator/store/job_store.h"
#include "espalier/v1/jobs.pb.h"
#include "espalier/v1/worker.pb.h"

namespace espalier {

// The way to one worker. Must not block, nor call back.
class WorkerStream {
 public:
  virtual ~WorkerStream() = default;
  virtual void Send(v1::CoordinatorMessage message) = 0;
  virtual void Close(const absl::Status& status) = 0;  // after what was sent
};

// Thread-safe.
class CoordinatorCore : public StatusSource {
 public:
  struct Options {
    std::chrono::milliseconds heartbeat{2000};
    std::chrono::milliseconds lease{10000};
    JobRoots roots{};
  };

  // `searches` outlives the core. Without a store (null), jobs end with the core.
  CoordinatorCore(const Options& options, const SearchFactory* searches,
                  std::unique_ptr<JobStore> store);
  ~CoordinatorCore() override;  // as Shutdown

  // Takes up what the store holds; once, before anything else. DATA_LOSS when it is damaged.
  absl::Status Restore();

  // Workers. The key names the stream from now on; the stream is closed if it is refused.
  WorkerKey Attach(const v1::Hello& hello, std::shared_ptr<WorkerStream> stream);
  void Receive(WorkerKey worker, const v1::WorkerMessage& message);
  void Detach(WorkerKey worker, const std::string& reason);

  // Uploads. ABORTED when the task is not an export in progress under that epoch (any more).
  struct UploadKey {
    JobId job = 0;
    TaskId task = 0;
    uint64_t epoch = 0;
    int64_t first_layer = 0;  // of the stage that uploads
  };
  absl::Status UploadCame(const UploadKey& key);
  absl::StatusOr<std::unique_ptr<ArtifactFile>> CreateArtifact(const UploadKey& key,
                                                               const std::string& name);

  // Clients.
  absl::StatusOr<v1::Job> Submit(const v1::SubmitJobRequest& request);
  absl::StatusOr<v1::Job> Get(const std::string& id) const;
  absl::StatusOr<v1::Job> Cancel(const std::string& id);
  absl::StatusOr<v1::Job> Pause(const std::string& id);
  absl::StatusOr<v1::Job> Resume(const std::string& id);
  absl::StatusOr<v1::DeleteJobResponse> Delete(const std::string& id);
  absl::StatusOr<v1::DrainWorkerResponse> Drain(const std::string& worker);
  v1::ListJobsResponse ListJobs() const;
  v1::ListWorkersResponse ListWorkers() const;
  absl::Status Follow(const std::string& id, uint64_t after, std::shared_ptr<EventSink> sink);
  void Forget(const EventSink* sink);

  // The status endpoint (core_status.cc).
  StatusSnapshot Look() const override;
  absl::StatusOr<JobDetail> LookAt(JobId job) const override;
  uint64_t WaitForChange(uint64_t seen,
                         std::chrono::steady_clock::time_point deadline) const override;

  // Closes all streams and ends all threads. Jobs are cancelled, or, with a store, left for the
  // next start. Refuses everything from then on.
  void Shutdown();

 private:
  struct JobData {
    std::shared_ptr<ResultFolder> folder;
    DataSets data_sets;
  };

  TimeMs Now() const;
  void Feed(const Event& event);
  void GoOn() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Breathe() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FeedLocked(const Event& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Stores and carries out, in its turn; at once without a store. Returns the committer's ticket.
  uint64_t Settle(Actions actions) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status AwaitStored(uint64_t ticket);
  // Lets the brain do something that a client asks for, and waits until it is stored.
  using Request = std::function<absl::Status(Brain& brain, TimeMs now, Actions* actions)>;
  absl::Status Ask(const Request& request) ABSL_LOCKS_EXCLUDED(mutex_);
  using JobRequest = std::function<absl::Status(Brain& brain, JobId job, TimeMs now, Actions*)>;
  absl::StatusOr<v1::Job> AskOf(const std::string& id, const JobRequest& request)
      ABSL_LOCKS_EXCLUDED(mutex_);
  StoreBatch BatchOf(const Actions& actions) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status RestoreJob(const StoredJobRow& row) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status LoadEvents(JobId job) const ABSL_LOCKS_EXCLUDED(mutex_);
  void CarryOut(const Actions& actions) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Do(const RecordJob&) {}  // stored already
  void Do(const RecordFact&) {}
  void Do(const RecordAnswer&) {}
  void Do(const RecallAnswers& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Do(const ForgetJob& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Do(const DismissWorker& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Do(const SendWelcome& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Do(const SendJoin& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Do(const CloseWorker& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Do(const SendDataSet& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Do(const SendTask& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Do(const SendCancel& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Do(const SendAck& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Do(const PrepareJob& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Do(const AppendPopulation& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Do(const FinishOutput& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Do(const ReleaseJob& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Do(const PublishEvent& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SendTo(WorkerKey worker, v1::CoordinatorMessage message)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CloseStream(WorkerKey worker, const absl::Status& status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status RefuseWhenStopping() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<v1::Job> Message(JobId job) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Prepare(JobId job, const JobSpec& spec);
  void Tick();

  const Options options_;
  const std::unique_ptr<JobStore> store_;
  const std::chrono::steady_clock::time_point start_;
  const int64_t start_unix_ms_;
  const std::string replica_key_;  // that the secrets of replicas are made of

  mutable WantedMutex mutex_;
  CondVar changed_;  // it stops, or the brain has more to do
  mutable CondVar activity_changed_;
  Brain brain_ ABSL_GUARDED_BY(mutex_);
  mutable EventLogs logs_ ABSL_GUARDED_BY(mutex_);
  // Jobs that ended in an earlier life and whose events are still only in the store.
  mutable std::set<JobId> archived_ ABSL_GUARDED_BY(mutex_);
  std::map<WorkerKey, std::shared_ptr<WorkerStream>> streams_ ABSL_GUARDED_BY(mutex_);
  std::map<JobId, JobData> jobs_ ABSL_GUARDED_BY(mutex_);  // unfinished ones
  WorkerKey last_key_ ABSL_GUARDED_BY(mutex_) = 0;
  ActivityCounters activity_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  // They use everything above.
  BackgroundThread preparer_;
  BackgroundThread writer_;
  std::unique_ptr<Committer> committer_;  // null without a store
  std::thread ticker_;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_SERVICE_CORE_H_
