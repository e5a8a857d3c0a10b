#include "worker/service/attach_session.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/grpc_status.h"

namespace espalier {
namespace {

// The rate limit of early heartbeats, unless a tenth of the period is less.
constexpr std::chrono::steady_clock::duration kSoon = std::chrono::milliseconds(250);

}  // namespace

AttachSession::AttachSession(v1::WorkerService::StubInterface* stub, v1::Hello hello,
                             Handlers handlers)
    : stub_(stub), handlers_(std::move(handlers)) {
  v1::WorkerMessage message;
  *message.mutable_hello() = std::move(hello);
  Enqueue(std::move(message));
}

absl::Status AttachSession::Run(Clock::time_point welcome_deadline) {
  const std::unique_ptr<Stream> stream = stub_->Attach(&context_);
  std::thread writer([&] { Write(stream.get(), welcome_deadline); });
  absl::Status protocol = Read(stream.get());
  {
    MutexLock lock(&mutex_);
    ended_ = true;
    changed_.NotifyAll();
  }
  writer.join();
  absl::Status status = FromGrpcStatus(stream->Finish());
  if (!protocol.ok()) return protocol;
  MutexLock lock(&mutex_);
  if (welcome_overdue_) {
    return absl::DeadlineExceededError("the connection stands, but no welcome came in time");
  }
  return status;
}

absl::Status AttachSession::Read(Stream* stream) {
  v1::CoordinatorMessage message;
  while (stream->Read(&message)) {
    if (welcomed()) {
      handlers_.message(message);
      continue;
    }
    if (!message.has_welcome() || message.welcome().heartbeat_milliseconds() <= 0 ||
        message.welcome().epoch() == 0) {
      context_.TryCancel();
      return absl::InternalError("the coordinator's first message is no valid welcome");
    }
    handlers_.welcome(message.welcome());
    MutexLock lock(&mutex_);
    welcomed_ = true;
    heartbeat_period_ = std::chrono::milliseconds(message.welcome().heartbeat_milliseconds());
    changed_.NotifyAll();
  }
  return absl::OkStatus();
}

void AttachSession::Write(Stream* stream, Clock::time_point welcome_deadline) {
  v1::WorkerMessage message;
  while (NextMessage(welcome_deadline, &message)) {
    if (!stream->Write(message)) return;  // the reading thread sees the end as well
    if (message.has_goodbye()) {
      stream->WritesDone();
      return;
    }
  }
}

bool AttachSession::NextMessage(Clock::time_point welcome_deadline, v1::WorkerMessage* message) {
  {
    MutexLock lock(&mutex_);
    while (true) {
      if (ended_) return false;
      if (!outbox_.empty()) {
        *message = std::move(outbox_.front());
        outbox_.pop_front();
        return true;
      }
      const auto wake = welcomed_ ? HeartbeatDue() : welcome_deadline;
      if (Clock::now() >= wake) break;
      changed_.WaitUntil(&mutex_, wake);
    }
    if (!welcomed_) {
      welcome_overdue_ = true;
      context_.TryCancel();
      return false;
    }
    heartbeat_soon_ = false;
    last_heartbeat_ = Clock::now();
  }
  message->Clear();
  *message->mutable_heartbeat() = handlers_.heartbeat();
  return true;
}

AttachSession::Clock::time_point AttachSession::HeartbeatDue() const {
  const Clock::duration soon = std::min(heartbeat_period_ / 10, kSoon);
  return last_heartbeat_ + (heartbeat_soon_ ? soon : heartbeat_period_);
}

bool AttachSession::welcomed() const {
  MutexLock lock(&mutex_);
  return welcomed_;
}

void AttachSession::Enqueue(v1::WorkerMessage message) {
  MutexLock lock(&mutex_);
  if (saying_goodbye_) return;
  outbox_.push_back(std::move(message));
  changed_.NotifyAll();
}

void AttachSession::Send(const v1::TaskResult& result) {
  v1::WorkerMessage message;
  *message.mutable_result() = result;
  Enqueue(std::move(message));
}

void AttachSession::HeartbeatSoon() {
  MutexLock lock(&mutex_);
  heartbeat_soon_ = true;
  changed_.NotifyAll();
}

void AttachSession::SayGoodbye(const std::string& reason) {
  MutexLock lock(&mutex_);
  if (saying_goodbye_) return;
  saying_goodbye_ = true;
  if (!welcomed_) {
    context_.TryCancel();
    return;
  }
  outbox_.emplace_back().mutable_goodbye()->set_reason(reason);
  changed_.NotifyAll();
}

void AttachSession::Abort() { context_.TryCancel(); }

}  // namespace espalier
