// A mutex that says whether somebody waits for it, so that work that can wait gives way.
#ifndef ESPALIER_COORDINATOR_SERVICE_WANTED_MUTEX_H_
#define ESPALIER_COORDINATOR_SERVICE_WANTED_MUTEX_H_

#include <atomic>

#include "common/mutex.h"

namespace espalier {

class ABSL_LOCKABLE WantedMutex : public Mutex {
 public:
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    ++waiting_;
    Mutex::Lock();
    --waiting_;
  }
  bool wanted() const { return waiting_ > 0; }

 private:
  std::atomic<int> waiting_ = 0;
};

class ABSL_SCOPED_LOCKABLE WantedMutexLock {
 public:
  explicit WantedMutexLock(WantedMutex* mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) {
    mutex_->Lock();
  }
  ~WantedMutexLock() ABSL_UNLOCK_FUNCTION() { mutex_->Unlock(); }
  WantedMutexLock(const WantedMutexLock&) = delete;
  WantedMutexLock& operator=(const WantedMutexLock&) = delete;

 private:
  WantedMutex* mutex_;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_SERVICE_WANTED_MUTEX_H_
