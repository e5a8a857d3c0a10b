// Which workers hold a job's model, and whether all of them hold the same one.
//
// The first worker that loads the model fixes its content hash for the whole job; a worker with
// other content is refused for this job.
#ifndef ESPALIER_COORDINATOR_JOBS_MODEL_HOLDERS_H_
#define ESPALIER_COORDINATOR_JOBS_MODEL_HOLDERS_H_

#include <cstddef>
#include <map>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "coordinator/jobs/types.h"

namespace espalier {

class ModelHolders {
 public:
  enum class State { kUnknown, kLoading, kReady, kRefused };

  State state(WorkerKey worker) const;
  void Loading(WorkerKey worker) { Set(worker, State::kLoading); }
  // Forgets a load that ended without an answer; the worker may be asked again.
  void LoadReturned(WorkerKey worker) { Set(worker, State::kUnknown); }
  // OK when the worker may serve the job; otherwise the reason why it is refused.
  absl::Status Loaded(WorkerKey worker, const LoadResult& result);
  void Refuse(WorkerKey worker) { Set(worker, State::kRefused); }
  // Also forgets its statistics.
  void Gone(WorkerKey worker);

  // The worker computed the calibration statistics and keeps them.
  void Calibrated(WorkerKey worker) { calibrated_.insert(worker); }
  bool IsCalibrated(WorkerKey worker) const { return calibrated_.count(worker) > 0; }
  bool AnyCalibrated() const { return !calibrated_.empty(); }

  // The content is known from the job's journal.
  void Fix(const std::string& hash) { hash_ = hash; }
  const std::string& hash() const { return hash_; }  // empty: no worker has loaded it yet
  size_t Count(State state) const;

 private:
  void Set(WorkerKey worker, State state);

  std::map<WorkerKey, State> states_;
  std::map<State, size_t> counts_;
  std::set<WorkerKey> calibrated_;
  std::string hash_;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_JOBS_MODEL_HOLDERS_H_
