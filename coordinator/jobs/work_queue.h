// The pieces of work of one job that wait for a worker.
#ifndef ESPALIER_COORDINATOR_JOBS_WORK_QUEUE_H_
#define ESPALIER_COORDINATOR_JOBS_WORK_QUEUE_H_

#include <cstdint>
#include <deque>
#include <optional>

#include "coordinator/jobs/journal.h"
#include "coordinator/jobs/types.h"

namespace espalier {

// One piece of work, through all attempts at it.
struct WorkItem {
  Work work;
  int64_t index = 0;  // what the job knows it by: a candidate's slot, a measurement, …
  int64_t units = 1;  // of the phase's progress
  // Needs the calibration statistics: goes to a worker that has them, while there is one (but when
  // that failed, to any other, which computes them again).
  bool needs_calibration = false;
  int failures = 0;              // attempts that lost their worker or ended in an error
  WorkerKey last_failed_on = 0;  // not given to the same worker again while there are others
};

// Unique among the items that are open at a time.
WorkKey KeyOf(const WorkItem& item);

// Of the worker that asks for work.
struct WorkerFitness {
  WorkerKey key = 0;
  bool calibrated = false;         // it has the job's statistics
  bool others_calibrated = false;  // another worker has them
  bool alone = true;               // no other worker serves this job
};

class WorkQueue {
 public:
  void PushBack(WorkItem item) { items_.push_back(std::move(item)); }
  // For what a worker could not finish: it was first in line and stays so.
  void PushFront(WorkItem item) { items_.push_front(std::move(item)); }
  // The first piece that this worker should have.
  std::optional<WorkItem> PopFor(const WorkerFitness& worker);
  // The piece of that name, wherever it stands.
  std::optional<WorkItem> Pop(const WorkKey& key);
  void Clear() { items_.clear(); }

  bool empty() const { return items_.empty(); }
  size_t size() const { return items_.size(); }

 private:
  std::deque<WorkItem> items_;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_JOBS_WORK_QUEUE_H_
