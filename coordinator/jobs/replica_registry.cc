#include "coordinator/jobs/replica_registry.h"

#include <algorithm>

namespace espalier {

std::optional<size_t> Replica::StageOf(WorkerKey worker) const {
  const auto it = std::find(workers.begin(), workers.end(), worker);
  if (it == workers.end()) return std::nullopt;
  return it - workers.begin();
}

Replica& ReplicaRegistry::Form(std::vector<WorkerKey> workers, std::string label) {
  const ReplicaKey key = ++last_key_;
  ++sizes_[workers.size()];
  Replica& replica = replicas_[key];
  replica = {.key = key,
             .workers = std::move(workers),
             .label = std::move(label),
             .claim = {},
             .window = {}};
  UpdateRoom(replica);
  return replica;
}

void ReplicaRegistry::Dissolve(ReplicaKey key) {
  const auto it = replicas_.find(key);
  if (it == replicas_.end()) return;
  const auto size = sizes_.find(it->second.workers.size());
  if (--size->second == 0) sizes_.erase(size);
  replicas_.erase(it);
  with_room_.erase(key);
}

Replica* ReplicaRegistry::Find(ReplicaKey key) {
  const auto it = replicas_.find(key);
  return it == replicas_.end() ? nullptr : &it->second;
}

const Replica* ReplicaRegistry::Find(ReplicaKey key) const {
  const auto it = replicas_.find(key);
  return it == replicas_.end() ? nullptr : &it->second;
}

void ReplicaRegistry::Assign(Replica& replica, TaskId task) {
  replica.window.push_back(task);
  UpdateRoom(replica);
}

void ReplicaRegistry::Unassign(Replica& replica, TaskId task) {
  std::erase(replica.window, task);
  UpdateRoom(replica);
}

void ReplicaRegistry::ForgetClaims() {
  for (auto& [key, replica] : replicas_) replica.claim.reset();
}

size_t ReplicaRegistry::LargestCapacity() const {
  return sizes_.empty() ? 0 : sizes_.rbegin()->first + 1;
}

void ReplicaRegistry::UpdateRoom(const Replica& replica) {
  if (replica.window.size() < replica.capacity()) {
    with_room_.insert(replica.key);
  } else {
    with_room_.erase(replica.key);
  }
}

}  // namespace espalier
