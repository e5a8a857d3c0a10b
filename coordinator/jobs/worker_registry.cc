#include "coordinator/jobs/worker_registry.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace espalier {

std::string AttachedWorker::Label() const {
  return absl::StrCat("worker-", number, " (", info.name, ")");
}

AttachedWorker& WorkerRegistry::Attach(WorkerKey key, const WorkerInfo& info, TimeMs now) {
  AttachedWorker& worker = workers_[key];
  worker.key = key;
  worker.number = ++last_number_;
  worker.epoch = first_epoch_ + worker.number;
  worker.info = info;
  worker.last_heard = now;
  UpdateRoom(worker);
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

void WorkerRegistry::Remove(WorkerKey key) {
  workers_.erase(key);
  with_room_.erase(key);
}

std::vector<WorkerKey> WorkerRegistry::Expired(TimeMs now, TimeMs lease) const {
  std::vector<WorkerKey> expired;
  for (const auto& [key, worker] : workers_) {
    if (now - worker.last_heard > lease) expired.push_back(key);
  }
  return expired;
}

void WorkerRegistry::Assign(AttachedWorker& worker, TaskId task) {
  worker.window.push_back(task);
  UpdateRoom(worker);
}

bool WorkerRegistry::Unassign(AttachedWorker& worker, TaskId task) {
  const auto it = std::find(worker.window.begin(), worker.window.end(), task);
  if (it == worker.window.end()) return false;
  worker.window.erase(it);
  if (worker.reported_task == task) worker.reported_progress = 0;
  UpdateRoom(worker);
  return true;
}

void WorkerRegistry::UpdateRoom(const AttachedWorker& worker) {
  if (worker.window.size() < kWindow) {
    with_room_.insert(worker.key);
  } else {
    with_room_.erase(worker.key);
  }
}

std::vector<WorkerView> WorkerRegistry::Views() const {
  std::vector<WorkerView> views;
  views.reserve(workers_.size());
  for (const auto& [key, worker] : workers_) {
    views.push_back({.number = worker.number,
                     .info = worker.info,
                     .activity = worker.activity,
                     .progress = worker.reported_progress,
                     .tasks_done = worker.tasks_done});
  }
  return views;
}

}  // namespace espalier
