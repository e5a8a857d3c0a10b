// The replicas: which workers hold a model together, and what each replica works on.
//
// Every worker is always in exactly one replica, most often alone. A replica never changes: when a
// worker is lost or others are needed, it is dissolved and its workers form new ones. Each has an
// epoch of its own, so whatever comes from an earlier one is recognised and refused.
#ifndef ESPALIER_COORDINATOR_JOBS_REPLICA_REGISTRY_H_
#define ESPALIER_COORDINATOR_JOBS_REPLICA_REGISTRY_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/jobs/types.h"

namespace espalier {

struct Replica {
  ReplicaKey key = 0;
  std::vector<WorkerKey> workers;  // by stage
  std::string label;               // "worker-3 (host:pid)", "worker-3 and worker-4"
  std::optional<size_t> claim{};   // that it serves (allotment.h)
  std::deque<TaskId> window;       // in the order in which all its stages work on them

  int64_t stages() const { return static_cast<int64_t>(workers.size()); }
  // One task that each stage works on, and one so that the first never idles.
  size_t capacity() const { return workers.size() + 1; }
  std::optional<size_t> StageOf(WorkerKey worker) const;
};

class ReplicaRegistry {
 public:
  // Keys are `first_epoch` + 1, + 2, …
  explicit ReplicaRegistry(uint64_t first_epoch) : last_key_(first_epoch) {}

  // References stay valid until that replica is dissolved.
  Replica& Form(std::vector<WorkerKey> workers, std::string label);
  // Requires an empty window.
  void Dissolve(ReplicaKey key);
  // Null for one that there is not (any more).
  Replica* Find(ReplicaKey key);
  const Replica* Find(ReplicaKey key) const;

  const std::map<ReplicaKey, Replica>& all() const { return replicas_; }
  void ForgetClaims();

  void Assign(Replica& replica, TaskId task);
  void Unassign(Replica& replica, TaskId task);

  // Replicas that may get one more task, ascending.
  std::vector<ReplicaKey> WithRoom() const { return {with_room_.begin(), with_room_.end()}; }
  size_t LargestCapacity() const;
  size_t size() const { return replicas_.size(); }

 private:
  void UpdateRoom(const Replica& replica);

  std::map<ReplicaKey, Replica> replicas_;
  std::set<ReplicaKey> with_room_;
  std::map<size_t, size_t> sizes_;  // how many replicas have so many stages
  ReplicaKey last_key_;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_JOBS_REPLICA_REGISTRY_H_
