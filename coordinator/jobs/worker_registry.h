// The attached workers and their leases. A lease lasts as long as something was heard within the
// lease time.
#ifndef ESPALIER_COORDINATOR_JOBS_WORKER_REGISTRY_H_
#define ESPALIER_COORDINATOR_JOBS_WORKER_REGISTRY_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "coordinator/jobs/types.h"

namespace espalier {

struct AttachedWorker {
  WorkerKey key = 0;
  uint64_t number = 0;     // that people see
  ReplicaKey replica = 0;  // 0: between two
  WorkerInfo info;
  TimeMs last_heard = 0;
  std::set<std::string> data_sets;  // sent over this stream; the worker keeps them
  TaskId reported_task = 0;         // of the last heartbeat
  double reported_progress = 0;
  std::string activity;
  int64_t tasks_done = 0;
  bool draining = false;  // gets no new tasks, and is sent away when it has none

  std::string Name() const;   // "worker-3"
  std::string Label() const;  // "worker-3 (host:pid)"
};

class WorkerRegistry {
 public:
  AttachedWorker& Attach(WorkerKey key, const WorkerInfo& info, TimeMs now);
  // Null for a key that is not (or no longer) attached.
  AttachedWorker* Find(WorkerKey key);
  const AttachedWorker* Find(WorkerKey key) const;
  AttachedWorker* FindNumber(uint64_t number);
  void Remove(WorkerKey key);
  void Drain(AttachedWorker& worker);

  // Keys of workers that were not heard of for `lease`.
  std::vector<WorkerKey> Expired(TimeMs now, TimeMs lease) const;

  size_t size() const { return workers_.size(); }
  // Those that are not draining, and of them those with a stage address.
  size_t serving() const { return workers_.size() - draining_.size(); }
  size_t reachable() const { return reachable_; }
  const std::set<WorkerKey>& draining() const { return draining_; }
  const std::map<WorkerKey, AttachedWorker>& all() const { return workers_; }

 private:
  std::map<WorkerKey, AttachedWorker> workers_;
  uint64_t last_number_ = 0;
  std::set<WorkerKey> draining_;
  size_t reachable_ = 0;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_JOBS_WORKER_REGISTRY_H_
