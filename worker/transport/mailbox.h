// Messages from one peer that wait for their receiver, in the order in which they were sent.
#ifndef ESPALIER_WORKER_TRANSPORT_MAILBOX_H_
#define ESPALIER_WORKER_TRANSPORT_MAILBOX_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "worker/transport/transport.h"

namespace espalier {

// Thread-safe. Bounded: a sender that is ahead waits.
class Mailbox {
 public:
  struct Message {
    MessageTag tag;
    std::string bytes;
  };

  // At most this many bytes wait, but always at least one message.
  explicit Mailbox(int64_t capacity) : capacity_(capacity) {}

  // Errors of these four: what Close was given; CANCELLED, as Transport's.
  absl::Status Push(Message message, const std::atomic<bool>* cancelled);
  // As Transport::Receive: drops what is older than `tag`; ABORTED, leaving it there, for what is
  // newer.
  absl::StatusOr<Message> Pop(const MessageTag& tag, const std::atomic<bool>* cancelled);
  // Like Pop, but gives what is older too, for callers who must do something about it.
  absl::StatusOr<Message> PopUpTo(const MessageTag& tag, const std::atomic<bool>* cancelled);
  // The next one, whatever its tag.
  absl::StatusOr<Message> PopAny();

  // Ends all calls with this error (not OK), now and from now on. The first one stays. What was
  // pushed before can still be popped, unless `drop`.
  void Close(const absl::Status& status, bool drop);

 private:
  // Waits for a change; returns why there is no point in waiting any longer.
  absl::Status Wait(const std::atomic<bool>* cancelled) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Message TakeFirst() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const int64_t capacity_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<Message> messages_ ABSL_GUARDED_BY(mutex_);
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status closed_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_TRANSPORT_MAILBOX_H_
