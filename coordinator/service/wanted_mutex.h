// A mutex that says how much it is wanted, so that work that can wait gives way.
#ifndef ESPALIER_COORDINATOR_SERVICE_WANTED_MUTEX_H_
#define ESPALIER_COORDINATOR_SERVICE_WANTED_MUTEX_H_

#include <atomic>
#include <cstdint>

#include "common/mutex.h"

namespace espalier {

class ABSL_LOCKABLE WantedMutex : public Mutex {
 public:
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    ++waiting_;
    Mutex::Lock();
    --waiting_;
    ++taken_;
  }
  // Whether somebody waits for it.
  bool wanted() const { return waiting_ > 0; }
  // How often it was taken by Lock (not by the end of a wait for a condition).
  uint64_t taken() const { return taken_; }

 private:
  std::atomic<int> waiting_ = 0;
  std::atomic<uint64_t> taken_ = 0;
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
