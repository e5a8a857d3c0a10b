// The pieces of work of one job that wait for a replica.
#ifndef ESPALIER_COORDINATOR_JOBS_WORK_QUEUE_H_
#define ESPALIER_COORDINATOR_JOBS_WORK_QUEUE_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "coordinator/jobs/journal.h"
#include "coordinator/jobs/types.h"

namespace espalier {

// One piece of work, through all attempts at it.
struct WorkItem {
  Work work;
  int64_t index = 0;     // what the job knows it by: a candidate's slot, a measurement, …
  int64_t units = 1;     // of the phase's progress
  std::string subnet{};  // a candidate's Fingerprint, with its window if it has one
  // Needs the calibration statistics: goes to a replica that has them, while there is one (but when
  // that failed, to any other, which has to compute them first).
  bool needs_calibration = false;
  // One of so many that it is worth making the statistics on every replica.
  bool many = false;
  // Needs weights that take minutes to make: goes to the replica that has made them or is about to,
  // while there is one.
  bool needs_reformed = false;
  // Makes those statistics once more, for one replica: the job knows the scores already.
  bool prelude = false;
  int failures = 0;               // attempts that lost their worker or ended in an error
  ReplicaKey last_failed_on = 0;  // not given to the same replica again while there are others
};

// The reformed weights of such a job are worth keeping to one replica.
inline bool IsProgressive(const JobSpec& spec) {
  return spec.reformation.method == ReformationMethod::kProgressive;
}

// Unique among the items that are open at a time.
WorkKey KeyOf(const WorkItem& item);

// Of the replica that asks for work.
struct ReplicaFitness {
  ReplicaKey key = 0;
  bool calibrated = false;         // it has the job's statistics
  bool calibrating = false;        // or will have them soon
  bool others_calibrated = false;  // another replica has them
  bool others_reformed = false;    // another replica has the reformed weights
  bool alone = true;               // no other replica serves this job
};

class WorkQueue {
 public:
  void PushBack(WorkItem item) { items_.push_back(std::move(item)); }
  // For what a worker could not finish: it was first in line and stays so.
  void PushFront(WorkItem item) { items_.push_front(std::move(item)); }
  // The first piece that this replica should have.
  std::optional<WorkItem> PopFor(const ReplicaFitness& replica);
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
