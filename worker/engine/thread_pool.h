// The engine's own threads. libtorch's are not used: a fixed set of tiles, each computed by one
// thread, gives results that do not depend on the number of threads, and several engines in one
// process each keep to their share of the cores.
#ifndef ESPALIER_WORKER_ENGINE_THREAD_POOL_H_
#define ESPALIER_WORKER_ENGINE_THREAD_POOL_H_

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

#include "common/mutex.h"

namespace espalier {

class ThreadPool {
 public:
  using Body = std::function<void(int64_t item, int thread)>;

  // `threads` ≤ 0: one for each core. The caller of ParallelFor is one of them. Throws
  // std::system_error when the system gives no more threads.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // body(item, thread) for every item in [0, count), thread in [0, threads()). Returns when all are
  // done; rethrows the first exception. One call at a time.
  void ParallelFor(int64_t count, const Body& body);

 private:
  void Stop();
  void WorkerLoop(int thread);
  void RunItems(int thread);

  std::vector<std::thread> workers_;
  Mutex mutex_;
  CondVar work_ready_;
  CondVar work_done_;
  uint64_t round_ ABSL_GUARDED_BY(mutex_) = 0;
  int busy_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::exception_ptr error_ ABSL_GUARDED_BY(mutex_);
  // Written while no worker runs, read by all during a round.
  const Body* body_ = nullptr;
  int64_t count_ = 0;
  std::atomic<int64_t> next_{0};
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_THREAD_POOL_H_
