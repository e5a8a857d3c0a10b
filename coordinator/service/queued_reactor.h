// What both server streams share: a queue of messages to write, and one orderly end.
#ifndef ESPALIER_COORDINATOR_SERVICE_QUEUED_REACTOR_H_
#define ESPALIER_COORDINATOR_SERVICE_QUEUED_REACTOR_H_

#include <grpcpp/grpcpp.h>

#include <deque>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "common/grpc_status.h"
#include "common/mutex.h"

namespace espalier {

// `Reactor` is grpc::ServerBidiReactor or grpc::ServerWriteReactor. It keeps itself alive from
// KeepAlive until gRPC is done with it, so that others may hold it as long as they like.
// Thread-safe.
template <typename Reactor, typename Message>
class QueuedReactor : public Reactor {
 public:
  // Call once, with the pointer that owns the reactor, before it is handed to gRPC.
  void KeepAlive(std::shared_ptr<QueuedReactor> self) { self_ = std::move(self); }

 protected:
  // Never blocks. Dropped after End.
  void Enqueue(std::shared_ptr<const Message> message) {
    MutexLock lock(&mutex_);
    if (end_.has_value()) return;
    queue_.push_back(std::move(message));
    if (!writing_) WriteNext();
  }

  // Finishes the call after what is queued. The first call counts.
  void End(const absl::Status& status) {
    MutexLock lock(&mutex_);
    if (end_.has_value()) return;
    end_ = status;
    if (!writing_) FinishNow();
  }

  void OnWriteDone(bool ok) override {
    MutexLock lock(&mutex_);
    writing_ = false;
    queue_.pop_front();
    if (!ok) {
      queue_.clear();
      if (!end_.has_value()) end_ = absl::CancelledError("the stream broke");
    }
    if (!queue_.empty()) {
      WriteNext();
    } else if (end_.has_value()) {
      FinishNow();
    }
  }

  void OnCancel() override { End(absl::CancelledError("the call was cancelled")); }

  // The last reaction; releases the reactor's own reference. A derived OnDone calls it last.
  void Release() { const std::shared_ptr<QueuedReactor> self = std::move(self_); }

 private:
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    writing_ = true;
    this->StartWrite(queue_.front().get());
  }
  void FinishNow() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { this->Finish(ToGrpcStatus(*end_)); }

  std::shared_ptr<QueuedReactor> self_;
  Mutex mutex_;
  std::deque<std::shared_ptr<const Message>> queue_
      ABSL_GUARDED_BY(mutex_);  // the first is written
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_SERVICE_QUEUED_REACTOR_H_
