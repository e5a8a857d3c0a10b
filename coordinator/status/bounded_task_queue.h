// A pool of threads for httplib whose queue has an end.
#ifndef ESPALIER_COORDINATOR_STATUS_BOUNDED_TASK_QUEUE_H_
#define ESPALIER_COORDINATOR_STATUS_BOUNDED_TASK_QUEUE_H_

#include <httplib.h>

#include <cstddef>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "common/mutex.h"

namespace espalier {

// Thread-safe.
class BoundedTaskQueue final : public httplib::TaskQueue {
 public:
  BoundedTaskQueue(size_t threads, size_t most_waiting);

  // Waits while `most_waiting` tasks wait. So httplib accepts no more connections meanwhile, and
  // the kernel turns away what is too much.
  void enqueue(std::function<void()> task) override;
  // Runs what waits, then ends the threads. httplib calls it once, before the destructor.
  void shutdown() override;

 private:
  void Run();

  const size_t most_waiting_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  bool finishing_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_STATUS_BOUNDED_TASK_QUEUE_H_
