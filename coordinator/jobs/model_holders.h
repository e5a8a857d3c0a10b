// Which replicas hold a job's model, whether all of them hold the same one, and which workers are
// refused because they do not.
//
// The first replica that loads the model fixes its content for the whole job; a worker with other
// content is refused for this job.
#ifndef ESPALIER_COORDINATOR_JOBS_MODEL_HOLDERS_H_
#define ESPALIER_COORDINATOR_JOBS_MODEL_HOLDERS_H_

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/model_digest.h"
#include "coordinator/jobs/replica_registry.h"
#include "coordinator/jobs/types.h"

namespace espalier {

class ModelHolders {
 public:
  enum class State { kUnknown, kLoading, kReady };

  State state(ReplicaKey replica) const;
  void Loading(ReplicaKey replica) { Set(replica, State::kLoading); }
  // Forgets a load that ended without an answer; the replica may be asked again.
  void LoadReturned(ReplicaKey replica) { Set(replica, State::kUnknown); }
  // All stages have answered: `parts` by stage, `names` the tensors that each of them must have.
  // OK: the replica may serve the job. Otherwise why not; the workers to blame are refused.
  absl::Status Loaded(const Replica& replica, const std::vector<LoadResult>& parts,
                      const std::vector<std::set<std::string>>& names);
  // Also forgets its statistics.
  void Gone(ReplicaKey replica);

  void Refuse(WorkerKey worker) { refused_.insert(worker); }
  bool IsRefused(WorkerKey worker) const { return refused_.count(worker) > 0; }
  void WorkerGone(WorkerKey worker) { refused_.erase(worker); }
  const std::set<WorkerKey>& refused() const { return refused_; }  // of those attached

  // The calibration statistics: a replica computes them, and keeps them until it is asked for
  // others.
  enum class Statistics { kNone, kPending, kThere };
  Statistics statistics(ReplicaKey replica) const;
  void SetStatistics(ReplicaKey replica, Statistics statistics);
  bool AnyCalibrated() const;

  // The content is known from the job's journal.
  void Fix(const std::string& hash) { hash_ = hash; }
  const std::string& hash() const { return hash_; }  // empty: no replica has loaded it yet
  // Of one stage's tensors; empty unless the replica is ready.
  std::string StageHash(ReplicaKey replica, size_t stage) const;
  size_t Count(State state) const;

 private:
  void Set(ReplicaKey replica, State state);
  absl::Status Compare(const Replica& replica, const std::vector<LoadResult>& parts,
                       const std::vector<std::set<std::string>>& names);

  std::map<ReplicaKey, State> states_;
  std::map<State, size_t> counts_;
  std::map<ReplicaKey, std::vector<std::string>> stage_hashes_;
  std::map<ReplicaKey, Statistics> statistics_;
  std::set<WorkerKey> refused_;
  std::string hash_;
  ModelDigest digest_;  // of the whole model, once a replica has loaded it in this life
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_JOBS_MODEL_HOLDERS_H_
