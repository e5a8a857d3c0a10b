// The worker's executor thread and its queue: tasks run in order, one at a time.
#ifndef ESPALIER_WORKER_SERVICE_TASK_RUNNER_H_
#define ESPALIER_WORKER_SERVICE_TASK_RUNNER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <thread>

#include "common/mutex.h"
#include "espalier/v1/worker.pb.h"
#include "worker/service/task_control.h"

namespace espalier {

// Thread-safe. An epoch is the life of one stream: nothing of it outlasts it.
class TaskRunner {
 public:
  using Execute = std::function<v1::TaskResult(const v1::Task&, TaskControl*)>;
  // All are called without a lock held: `execute` and `on_step` on the executor thread, `on_result`
  // also on a thread that calls Add or Cancel. `on_step` says that Heartbeat has something new.
  TaskRunner(Execute execute, std::function<void(const v1::TaskResult&)> on_result,
             std::function<void()> on_step);
  ~TaskRunner();  // as EndEpoch, then waits for the executor

  void BeginEpoch(uint64_t epoch);
  // Drops the queue and the kept results, cancels the running task; its result is dropped too.
  void EndEpoch();

  // A task of another epoch is ignored. One that is already queued or running is not queued twice;
  // for one that is done, the result is given again.
  void Add(const v1::Task& task);
  // A queued task is answered with CANCELLED at once, the running one when the engine notices.
  void Cancel(uint64_t task_id);
  // The coordinator has recorded the result.
  void Acknowledge(uint64_t task_id);

  v1::Heartbeat Heartbeat() const;
  // Results that were given and not yet acknowledged.
  size_t unacknowledged() const;

 private:
  void Run();
  bool TakeNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Execute execute_;
  const std::function<void(const v1::TaskResult&)> on_result_;
  const std::function<void()> on_step_;

  mutable Mutex mutex_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t epoch_ ABSL_GUARDED_BY(mutex_) = 0;  // 0: none
  std::deque<v1::Task> queue_ ABSL_GUARDED_BY(mutex_);
  v1::Task running_ ABSL_GUARDED_BY(mutex_);  // meaningful while control_ is set
  std::shared_ptr<TaskControl> control_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, v1::TaskResult> results_ ABSL_GUARDED_BY(mutex_);  // until acknowledged
  std::thread thread_;  // last: uses everything above
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_SERVICE_TASK_RUNNER_H_
