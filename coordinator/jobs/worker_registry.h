// The attached workers: their leases, epochs and windows of tasks.
//
// A lease lasts as long as something was heard within the lease time. Every attachment gets an
// epoch of its own, so whatever comes from an earlier one is recognised and refused.
#ifndef ESPALIER_COORDINATOR_JOBS_WORKER_REGISTRY_H_
#define ESPALIER_COORDINATOR_JOBS_WORKER_REGISTRY_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/jobs/types.h"

namespace espalier {

struct AttachedWorker {
  WorkerKey key = 0;
  uint64_t number = 0;  // that people see
  uint64_t epoch = 0;
  WorkerInfo info;
  TimeMs last_heard = 0;
  std::deque<TaskId> window;        // in the order in which it works on them
  std::set<std::string> data_sets;  // sent over this stream; the worker keeps them
  TaskId reported_task = 0;         // of the last heartbeat
  double reported_progress = 0;
  std::string activity;
  int64_t tasks_done = 0;

  std::string Label() const;  // "worker-3 (host:pid)"
};

class WorkerRegistry {
 public:
  // A worker holds at most this many tasks: one that it works on, one so that it never idles.
  static constexpr size_t kWindow = 2;

  // Epochs are `first_epoch` + 1, + 2, …
  explicit WorkerRegistry(uint64_t first_epoch) : first_epoch_(first_epoch) {}

  AttachedWorker& Attach(WorkerKey key, const WorkerInfo& info, TimeMs now);
  // Null for a key that is not (or no longer) attached.
  AttachedWorker* Find(WorkerKey key);
  const AttachedWorker* Find(WorkerKey key) const;
  void Remove(WorkerKey key);

  // Keys of workers that were not heard of for `lease`.
  std::vector<WorkerKey> Expired(TimeMs now, TimeMs lease) const;

  void Assign(AttachedWorker& worker, TaskId task);
  // False when the worker does not hold the task.
  bool Unassign(AttachedWorker& worker, TaskId task);
  // Workers that may get one more task, ascending.
  std::vector<WorkerKey> WithRoom() const { return {with_room_.begin(), with_room_.end()}; }

  size_t size() const { return workers_.size(); }
  std::vector<WorkerView> Views() const;

 private:
  void UpdateRoom(const AttachedWorker& worker);

  std::map<WorkerKey, AttachedWorker> workers_;
  std::set<WorkerKey> with_room_;
  const uint64_t first_epoch_;
  uint64_t last_number_ = 0;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_JOBS_WORKER_REGISTRY_H_
