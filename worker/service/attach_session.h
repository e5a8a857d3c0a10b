// One Attach stream, from hello to its end.
#ifndef ESPALIER_WORKER_SERVICE_ATTACH_SESSION_H_
#define ESPALIER_WORKER_SERVICE_ATTACH_SESSION_H_

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "common/mutex.h"
#include "espalier/v1/worker.grpc.pb.h"

namespace espalier {

// Thread-safe. The thread in Run reads; a thread of the session's own writes, so that heartbeats go
// out whatever the rest of the worker is doing, and no caller ever waits for the network.
class AttachSession {
 public:
  using Clock = std::chrono::steady_clock;

  struct Handlers {
    std::function<void(const v1::Welcome&)> welcome;             // in Run
    std::function<void(const v1::CoordinatorMessage&)> message;  // in Run, after the welcome
    std::function<v1::Heartbeat()> heartbeat;                    // on the writing thread
  };

  // `stub` must outlive the session.
  AttachSession(v1::WorkerService::StubInterface* stub, v1::Hello hello, Handlers handlers);

  // Says hello, serves the stream until it ends and returns how it ended: OK, or what the
  // coordinator or the network said. DEADLINE_EXCEEDED when no welcome came in time. Call once.
  absl::Status Run(Clock::time_point welcome_deadline);
  bool welcomed() const;

  void Send(const v1::TaskResult& result);
  // Sends the next heartbeat as soon as the rate limit (a few a second) allows.
  void HeartbeatSoon();
  // Sends what is waiting and a goodbye, then half-closes; the coordinator ends the stream. Before
  // the welcome, as Abort.
  void SayGoodbye(const std::string& reason);
  // Ends the stream now.
  void Abort();

 private:
  using Stream = grpc::ClientReaderWriterInterface<v1::WorkerMessage, v1::CoordinatorMessage>;

  absl::Status Read(Stream* stream);
  void Write(Stream* stream, Clock::time_point welcome_deadline);
  // Waits for something to write; false when there will be nothing more.
  bool NextMessage(Clock::time_point welcome_deadline, v1::WorkerMessage* message);
  Clock::time_point HeartbeatDue() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Enqueue(v1::WorkerMessage message);

  v1::WorkerService::StubInterface* const stub_;
  const Handlers handlers_;
  grpc::ClientContext context_;

  mutable Mutex mutex_;
  CondVar changed_;
  std::deque<v1::WorkerMessage> outbox_ ABSL_GUARDED_BY(mutex_);
  bool welcomed_ ABSL_GUARDED_BY(mutex_) = false;
  bool welcome_overdue_ ABSL_GUARDED_BY(mutex_) = false;
  bool saying_goodbye_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  bool heartbeat_soon_ ABSL_GUARDED_BY(mutex_) = false;
  Clock::duration heartbeat_period_ ABSL_GUARDED_BY(mutex_){};
  Clock::time_point last_heartbeat_ ABSL_GUARDED_BY(mutex_){};
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_SERVICE_ATTACH_SESSION_H_
