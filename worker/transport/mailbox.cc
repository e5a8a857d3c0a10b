#include "worker/transport/mailbox.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace espalier {
namespace {

// How soon a cancellation, which wakes nobody, is noticed.
constexpr std::chrono::milliseconds kPoll{20};

}  // namespace

absl::Status Mailbox::Wait(const std::atomic<bool>* cancelled) {
  if (!closed_.ok()) return closed_;
  if (cancelled == nullptr) {
    changed_.Wait(&mutex_);
    return absl::OkStatus();
  }
  if (*cancelled) return absl::CancelledError("stopped on request");
  changed_.WaitUntil(&mutex_, std::chrono::steady_clock::now() + kPoll);
  return absl::OkStatus();
}

absl::Status Mailbox::Push(Message message, const std::atomic<bool>* cancelled) {
  MutexLock lock(&mutex_);
  const auto size = static_cast<int64_t>(message.bytes.size());
  while (!messages_.empty() && bytes_ + size > capacity_) {
    ESPALIER_RETURN_IF_ERROR(Wait(cancelled));
  }
  if (!closed_.ok()) return closed_;
  bytes_ += size;
  messages_.push_back(std::move(message));
  changed_.NotifyAll();
  return absl::OkStatus();
}

Mailbox::Message Mailbox::TakeFirst() {
  Message message = std::move(messages_.front());
  messages_.pop_front();
  bytes_ -= static_cast<int64_t>(message.bytes.size());
  changed_.NotifyAll();
  return message;
}

absl::StatusOr<Mailbox::Message> Mailbox::PopUpTo(const MessageTag& tag,
                                                  const std::atomic<bool>* cancelled) {
  MutexLock lock(&mutex_);
  while (messages_.empty()) ESPALIER_RETURN_IF_ERROR(Wait(cancelled));
  if (!(tag < messages_.front().tag)) return TakeFirst();
  return absl::AbortedError(absl::StrCat("the other stage gave up task ", tag.task,
                                         " and went on to task ", messages_.front().tag.task));
}

absl::StatusOr<Mailbox::Message> Mailbox::Pop(const MessageTag& tag,
                                              const std::atomic<bool>* cancelled) {
  while (true) {
    absl::StatusOr<Message> message = PopUpTo(tag, cancelled);
    if (!message.ok() || message->tag == tag) return message;
  }
}

absl::StatusOr<Mailbox::Message> Mailbox::PopAny() {
  MutexLock lock(&mutex_);
  while (messages_.empty()) ESPALIER_RETURN_IF_ERROR(Wait(nullptr));
  return TakeFirst();
}

void Mailbox::Close(const absl::Status& status, bool drop) {
  MutexLock lock(&mutex_);
  if (closed_.ok()) closed_ = status;
  if (drop) messages_.clear();
  if (drop) bytes_ = 0;
  changed_.NotifyAll();
}

}  // namespace espalier
