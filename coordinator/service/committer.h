// Stores what the brain decides before anything of it is seen outside.
//
// Steps are queued in their order; a thread of its own commits all that wait in one transaction and
// then hands them on. While the disk is full, or cannot be written for another reason, it tries
// again every second, and nothing goes out.
#ifndef ESPALIER_COORDINATOR_SERVICE_COMMITTER_H_
#define ESPALIER_COORDINATOR_SERVICE_COMMITTER_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "common/mutex.h"
#include "coordinator/jobs/actions.h"
#include "coordinator/store/job_store.h"

namespace espalier {

// Thread-safe.
class Committer {
 public:
  // `carry_out` is called on the committer's thread with each step that is stored, in order.
  // `store` outlives the committer.
  Committer(JobStore* store, std::function<void(const Actions&)> carry_out);
  ~Committer();  // as Finish

  // Queues one step and what is to be stored of it. Returns its ticket. Does not wait.
  uint64_t Add(Actions actions, StoreBatch batch);
  // Until that step was stored and carried out. UNAVAILABLE, with the reason, if it takes too long.
  absl::Status Wait(uint64_t ticket);
  // Why nothing can be stored at present; empty: all is well.
  std::string trouble() const;
  // Stores what can be stored, then ends the thread.
  void Finish();

 private:
  struct Step {
    Actions actions;
    StoreBatch batch;
  };

  void Run();
  bool CommitAll(const StoreBatch& batch);

  JobStore* const store_;
  const std::function<void(const Actions&)> carry_out_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::vector<Step> pending_ ABSL_GUARDED_BY(mutex_);
  uint64_t added_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t done_ ABSL_GUARDED_BY(mutex_) = 0;
  std::string trouble_ ABSL_GUARDED_BY(mutex_);  // why commits fail at present
  bool finishing_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_SERVICE_COMMITTER_H_
