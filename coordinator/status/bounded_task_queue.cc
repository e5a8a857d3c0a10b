#include "coordinator/status/bounded_task_queue.h"

#include <utility>

namespace espalier {

BoundedTaskQueue::BoundedTaskQueue(size_t threads, size_t most_waiting)
    : most_waiting_(most_waiting) {
  for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

void BoundedTaskQueue::enqueue(std::function<void()> task) {
  MutexLock lock(&mutex_);
  while (tasks_.size() >= most_waiting_) changed_.Wait(&mutex_);
  tasks_.push_back(std::move(task));
  changed_.NotifyAll();
}

void BoundedTaskQueue::shutdown() {
  {
    MutexLock lock(&mutex_);
    finishing_ = true;
    changed_.NotifyAll();
  }
  for (std::thread& thread : threads_) thread.join();
}

void BoundedTaskQueue::Run() {
  while (true) {
    std::function<void()> task;
    {
      MutexLock lock(&mutex_);
      while (tasks_.empty() && !finishing_) changed_.Wait(&mutex_);
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
      changed_.NotifyAll();  // there is room
    }
    task();
  }
}

}  // namespace espalier
