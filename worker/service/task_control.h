// How a running task is followed and stopped from other threads.
#ifndef ESPALIER_WORKER_SERVICE_TASK_CONTROL_H_
#define ESPALIER_WORKER_SERVICE_TASK_CONTROL_H_

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "common/mutex.h"
#include "worker/engine/engine.h"

namespace espalier {

// Thread-safe. One per execution of a task.
class TaskControl {
 public:
  // `on_step` is called from the executing thread when the activity changes and whenever the
  // progress passes another twentieth; it must not block.
  explicit TaskControl(std::function<void()> on_step = nullptr) : on_step_(std::move(on_step)) {}

  // Sets the flag that the engine polls, and interrupts a call that waits for the network.
  void Cancel() {
    cancelled_ = true;
    MutexLock lock(&mutex_);
    if (interrupt_) interrupt_();
  }
  bool cancelled() const { return cancelled_; }
  const std::atomic<bool>* cancelled_flag() const { return &cancelled_; }  // for those who poll it
  absl::Status CheckCancelled() const {
    return cancelled_ ? absl::CancelledError("the task was cancelled") : absl::OkStatus();
  }

  // What the task does now, for people, and how much of the whole task is done (0..1).
  void SetActivity(std::string activity) {
    {
      MutexLock lock(&mutex_);
      activity_ = std::move(activity);
    }
    if (on_step_) on_step_();
  }
  std::string activity() const {
    MutexLock lock(&mutex_);
    return activity_;
  }
  double progress() const { return progress_; }

  // For an engine call that makes up the part [begin, end] of the task.
  Control Part(double begin, double end) {
    return {.progress = [this, begin,
                         end](double fraction) { SetProgress(begin + (end - begin) * fraction); },
            .cancelled = &cancelled_,
            .warn = [this](const std::string& text) { Warn(text); }};
  }

  // What engine calls warned of, each once, the first hundred.
  std::vector<std::string> warnings() const {
    MutexLock lock(&mutex_);
    return warnings_;
  }

  // While it lives, Cancel calls `interrupt` (at once if it was called before). `interrupt` runs
  // under a lock: it must be short and must not use this object.
  class Interruptible {
   public:
    Interruptible(TaskControl* control, std::function<void()> interrupt) : control_(control) {
      MutexLock lock(&control_->mutex_);
      control_->interrupt_ = std::move(interrupt);
      if (control_->cancelled_) control_->interrupt_();
    }
    ~Interruptible() {
      MutexLock lock(&control_->mutex_);
      control_->interrupt_ = nullptr;
    }
    Interruptible(const Interruptible&) = delete;
    Interruptible& operator=(const Interruptible&) = delete;

   private:
    TaskControl* control_;
  };

 private:
  void Warn(const std::string& text) {
    constexpr size_t kMostWarnings = 100;
    MutexLock lock(&mutex_);
    const bool known = std::find(warnings_.begin(), warnings_.end(), text) != warnings_.end();
    if (!known && warnings_.size() < kMostWarnings) warnings_.push_back(text);
  }
  void SetProgress(double progress) {
    constexpr double kSteps = 20;
    const double before = progress_.exchange(progress);
    if (on_step_ && std::floor(before * kSteps) != std::floor(progress * kSteps)) on_step_();
  }

  const std::function<void()> on_step_;
  std::atomic<bool> cancelled_ = false;
  std::atomic<double> progress_ = 0;
  mutable Mutex mutex_;
  std::string activity_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> warnings_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> interrupt_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_SERVICE_TASK_CONTROL_H_
