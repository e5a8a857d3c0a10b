// A thread that runs what it is given, one after another.
#ifndef ESPALIER_COORDINATOR_SERVICE_BACKGROUND_H_
#define ESPALIER_COORDINATOR_SERVICE_BACKGROUND_H_

#include <deque>
#include <functional>
#include <thread>

#include "common/mutex.h"

namespace espalier {

// Thread-safe.
class BackgroundThread {
 public:
  BackgroundThread();
  ~BackgroundThread();  // as Finish
  BackgroundThread(const BackgroundThread&) = delete;
  BackgroundThread& operator=(const BackgroundThread&) = delete;

  // Dropped after Finish.
  void Post(std::function<void()> task);
  // Runs what was posted, then ends the thread. Safe to call more than once, not from a task.
  void Finish();

 private:
  void Run();

  Mutex mutex_;
  CondVar changed_;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  bool finishing_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_SERVICE_BACKGROUND_H_
