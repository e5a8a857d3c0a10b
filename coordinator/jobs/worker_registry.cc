#include "coordinator/jobs/worker_registry.h"

#include "absl/strings/str_cat.h"

namespace espalier {

std::string AttachedWorker::Name() const { return absl::StrCat("worker-", number); }

std::string AttachedWorker::Label() const { return absl::StrCat(Name(), " (", info.name, ")"); }

AttachedWorker& WorkerRegistry::Attach(WorkerKey key, const WorkerInfo& info, TimeMs now) {
  AttachedWorker& worker = workers_[key];
  worker.key = key;
  worker.number = ++last_number_;
  worker.info = info;
  worker.last_heard = now;
  if (!info.stage_address.empty()) ++reachable_;
  return worker;
}

AttachedWorker* WorkerRegistry::Find(WorkerKey key) {
  const auto it = workers_.find(key);
  return it == workers_.end() ? nullptr : &it->second;
}

const AttachedWorker* WorkerRegistry::Find(WorkerKey key) const {
  const auto it = workers_.find(key);
  return it == workers_.end() ? nullptr : &it->second;
}

AttachedWorker* WorkerRegistry::FindNumber(uint64_t number) {
  for (auto& [key, worker] : workers_) {
    if (worker.number == number) return &worker;
  }
  return nullptr;
}

void WorkerRegistry::Drain(AttachedWorker& worker) {
  if (worker.draining) return;
  worker.draining = true;
  draining_.insert(worker.key);
  if (!worker.info.stage_address.empty()) --reachable_;
}

void WorkerRegistry::Remove(WorkerKey key) {
  const auto it = workers_.find(key);
  if (it == workers_.end()) return;
  Drain(it->second);
  draining_.erase(key);
  workers_.erase(it);
}

std::vector<WorkerKey> WorkerRegistry::Expired(TimeMs now, TimeMs lease) const {
  std::vector<WorkerKey> expired;
  for (const auto& [key, worker] : workers_) {
    if (now - worker.last_heard > lease) expired.push_back(key);
  }
  return expired;
}

}  // namespace espalier
