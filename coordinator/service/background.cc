#include "coordinator/service/background.h"

#include <utility>

namespace espalier {

BackgroundThread::BackgroundThread() : thread_([this] { Run(); }) {}

BackgroundThread::~BackgroundThread() { Finish(); }

void BackgroundThread::Post(std::function<void()> task) {
  MutexLock lock(&mutex_);
  if (finishing_) return;
  tasks_.push_back(std::move(task));
  changed_.NotifyAll();
}

void BackgroundThread::Finish() {
  {
    MutexLock lock(&mutex_);
    finishing_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void BackgroundThread::Run() {
  while (true) {
    std::function<void()> task;
    {
      MutexLock lock(&mutex_);
      while (tasks_.empty() && !finishing_) changed_.Wait(&mutex_);
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

}  // namespace espalier
