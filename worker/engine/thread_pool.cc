#include "worker/engine/thread_pool.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <utility>

namespace espalier {

ThreadPool::ThreadPool(int threads) {
  if (threads <= 0) threads = std::max(1u, std::thread::hardware_concurrency());
  workers_.reserve(threads - 1);
  try {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { WorkerLoop(i); });
  } catch (...) {  // no more threads to be had
    Stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { Stop(); }

void ThreadPool::Stop() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  work_ready_.NotifyAll();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::ParallelFor(int64_t count, const Body& body) {
  if (count <= 0) return;
  {
    MutexLock lock(&mutex_);
    body_ = &body;
    count_ = count;
    next_ = 0;
    error_ = nullptr;
    busy_ = static_cast<int>(workers_.size());
    ++round_;
  }
  work_ready_.NotifyAll();
  RunItems(0);
  std::exception_ptr error;
  {
    MutexLock lock(&mutex_);
    while (busy_ > 0) work_done_.Wait(&mutex_);
    error = std::exchange(error_, nullptr);
  }
  if (error) std::rethrow_exception(error);
}

void ThreadPool::RunItems(int thread) {
  try {
    for (int64_t i; (i = next_.fetch_add(1)) < count_;) (*body_)(i, thread);
  } catch (...) {
    next_ = count_;  // the others stop at their next item
    MutexLock lock(&mutex_);
    if (!error_) error_ = std::current_exception();
  }
}

void ThreadPool::WorkerLoop(int thread) {
  const c10::InferenceMode no_autograd;  // a thread-local setting, as is the next
  at::set_num_threads(1);
  uint64_t seen = 0;
  while (true) {
    {
      MutexLock lock(&mutex_);
      while (!stopping_ && round_ == seen) work_ready_.Wait(&mutex_);
      if (stopping_) return;
      seen = round_;
    }
    RunItems(thread);
    MutexLock lock(&mutex_);
    if (--busy_ == 0) work_done_.NotifyOne();
  }
}

}  // namespace espalier
