#include "worker/service/task_runner.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "worker/service/messages.h"

namespace espalier {
namespace {

v1::TaskResult CancelledInQueue(const v1::Task& task) {
  v1::TaskResult result;
  result.set_task_id(task.id());
  result.set_epoch(task.epoch());
  WriteError(absl::CancelledError("the task was cancelled before it began"), &result);
  return result;
}

}  // namespace

TaskRunner::TaskRunner(Execute execute, std::function<void(const v1::TaskResult&)> on_result,
                       std::function<void()> on_step)
    : execute_(std::move(execute)),
      on_result_(std::move(on_result)),
      on_step_(std::move(on_step)),
      thread_([this] { Run(); }) {}

TaskRunner::~TaskRunner() {
  EndEpoch();
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void TaskRunner::BeginEpoch(uint64_t epoch) {
  EndEpoch();
  MutexLock lock(&mutex_);
  epoch_ = epoch;
}

void TaskRunner::EndEpoch() {
  MutexLock lock(&mutex_);
  epoch_ = 0;
  queue_.clear();
  results_.clear();
  if (control_ != nullptr) control_->Cancel();
}

void TaskRunner::Add(const v1::Task& task) {
  std::optional<v1::TaskResult> again;
  {
    MutexLock lock(&mutex_);
    if (task.epoch() != epoch_) return;
    const auto same = [&](const v1::Task& other) { return other.id() == task.id(); };
    if (std::any_of(queue_.begin(), queue_.end(), same)) return;
    if (control_ != nullptr && running_.epoch() == epoch_ && same(running_)) return;
    if (const auto kept = results_.find(task.id()); kept != results_.end()) {
      again = kept->second;
    } else {
      queue_.push_back(task);
      changed_.NotifyAll();
    }
  }
  if (again.has_value()) on_result_(*again);
}

void TaskRunner::Cancel(uint64_t task_id) {
  v1::TaskResult result;
  {
    MutexLock lock(&mutex_);
    if (control_ != nullptr && running_.epoch() == epoch_ && running_.id() == task_id) {
      control_->Cancel();
      return;
    }
    const auto queued = std::find_if(queue_.begin(), queue_.end(),
                                     [&](const v1::Task& task) { return task.id() == task_id; });
    if (queued == queue_.end()) return;  // done: its result is on its way
    result = CancelledInQueue(*queued);
    queue_.erase(queued);
    results_[task_id] = result;
  }
  on_result_(result);
}

void TaskRunner::Acknowledge(uint64_t task_id) {
  MutexLock lock(&mutex_);
  results_.erase(task_id);
}

v1::Heartbeat TaskRunner::Heartbeat() const {
  v1::Heartbeat heartbeat;
  MutexLock lock(&mutex_);
  if (control_ == nullptr || running_.epoch() != epoch_) {
    heartbeat.set_activity("idle");
    return heartbeat;
  }
  heartbeat.set_task_id(running_.id());
  heartbeat.set_progress(control_->progress());
  heartbeat.set_activity(control_->activity());
  return heartbeat;
}

size_t TaskRunner::unacknowledged() const {
  MutexLock lock(&mutex_);
  return results_.size();
}

bool TaskRunner::TakeNext() {
  while (!stopping_ && queue_.empty()) changed_.Wait(&mutex_);
  if (stopping_) return false;
  running_ = std::move(queue_.front());
  queue_.pop_front();
  control_ = std::make_shared<TaskControl>(on_step_);
  return true;
}

void TaskRunner::Run() {
  while (true) {
    v1::Task task;
    std::shared_ptr<TaskControl> control;
    {
      MutexLock lock(&mutex_);
      if (!TakeNext()) return;
      task = running_;
      control = control_;
    }
    on_step_();
    const v1::TaskResult result = execute_(task, control.get());
    bool current = false;
    {
      MutexLock lock(&mutex_);
      control_.reset();
      current = task.epoch() == epoch_;
      if (current) results_[task.id()] = result;
    }
    if (current) on_result_(result);
  }
}

}  // namespace espalier
