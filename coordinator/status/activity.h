// Counts what goes through the brain, by watching its events and actions.
#ifndef ESPALIER_COORDINATOR_STATUS_ACTIVITY_H_
#define ESPALIER_COORDINATOR_STATUS_ACTIVITY_H_

#include <cstdint>
#include <functional>
#include <map>

#include "coordinator/jobs/actions.h"
#include "coordinator/jobs/types.h"

namespace espalier {

// Since the process started. assigned = finished + failed + returned + those in work.
struct ActivityTotals {
  int64_t tasks_assigned = 0;
  int64_t tasks_finished = 0;  // answered
  int64_t tasks_failed = 0;    // answered with an error
  int64_t tasks_returned = 0;  // cancelled, handed back, or lost with their worker
  int64_t candidates_evaluated = 0;
  int64_t leases_expired = 0;
};

// Give it every event with the brain's answer, and all actions that are carried out (those of
// events too). Not thread-safe.
class ActivityCounters {
 public:
  void Saw(const Event& event, const Actions& answer);
  void Saw(const Actions& actions);

  const ActivityTotals& totals() const { return totals_; }
  // Grows whenever something happened that can be seen from outside; from 1.
  uint64_t change() const { return change_; }

 private:
  struct OpenTask {
    WorkerKey worker = 0;
    bool candidate = false;
  };

  void Finished(const TaskFinished& event);
  void Assigned(const SendTask& task);
  void Published(const PublishEvent& event);
  void ReturnIf(const std::function<bool(TaskId, const OpenTask&)>& condition);
  void ReturnAllOf(WorkerKey worker);

  ActivityTotals totals_;
  uint64_t change_ = 1;
  std::map<TaskId, OpenTask> open_;
  std::map<JobId, JobPhase> phases_;  // of unfinished jobs
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_STATUS_ACTIVITY_H_
