// Both ways between this stage and one other: a part of NcclTransport, whose header has the rules.
#ifndef ESPALIER_WORKER_TRANSPORT_NCCL_LINK_H_
#define ESPALIER_WORKER_TRANSPORT_NCCL_LINK_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "espalier/v1/stage.pb.h"
#include "worker/cuda/nccl.h"
#include "worker/transport/mailbox.h"
#include "worker/transport/nccl_transport.h"

namespace espalier {

// Each communicator is used by one thread only: that of the way out by `sender_`, that of the way
// in by the caller of Receive. Each polls NCCL and the link's state, and aborts what it waits for.
class NcclLink {
 public:
  // Both must outlive the link, and `control` must be aborted before the destructor is called.
  NcclLink(int peer, GrpcTransport* control, const NcclOptions* options);
  ~NcclLink();

  // As Transport's.
  absl::Status Send(const MessageTag& tag, const void* data, int64_t bytes,
                    const std::atomic<bool>* cancelled);
  absl::Status Receive(const MessageTag& tag, void* data, int64_t bytes,
                       const std::atomic<bool>* cancelled);
  // Ends all calls with this error (not OK), now and from now on. The first one stays. Thread-safe.
  void Close(const absl::Status& status);

 private:
  struct Outgoing {
    MessageTag tag;
    int64_t bytes = 0;
    DeviceBuffer data;
  };

  // One direction's communicator, opened with its first transfer.
  struct Way {
    const NcclPair::End end;
    std::unique_ptr<NcclPair> pair{};
    bool carried = false;  // a transfer has ended well
  };

  // The threads. The first one takes what the peer says; the second one what the peer accepted.
  void Route();
  void Deliver();

  absl::Status StartSender();
  absl::Status AwaitRoom(int64_t bytes, const std::atomic<bool>* cancelled);
  // Waits for the peer's word on the first message of the queue and acts on it.
  absl::Status DeliverFirst();
  // The announcement with this tag; drops those before it.
  absl::StatusOr<v1::StageControl::Announcement> Expect(const MessageTag& tag,
                                                        const std::atomic<bool>* cancelled);

  absl::Status Tell(const MessageTag& tag, const v1::StageControl& control);
  absl::Status Answer(const MessageTag& tag, bool accepted);

  // Runs one transfer to its end. After a failure the link is closed and the peer knows why.
  absl::Status Transfer(Way* way, const std::string& id, void* data, int64_t bytes);
  absl::Status TryTransfer(Way* way, const std::string& id, void* data, int64_t bytes);
  // Waits for what was begun on the pair.
  absl::Status Finish(NcclPair* pair, std::chrono::milliseconds patience);
  absl::Status status() const;  // what it is closed with
  // Waits a little for the news that the link is lost.
  void AwaitLoss();
  // Closes the link and tells the peer why; it comes first because NCCL's abort may take a while,
  // and goes faster when both sides do it.
  void Fail(const absl::Status& status);

  const int peer_;
  GrpcTransport& control_;
  const NcclOptions& options_;
  Mailbox announcements_;
  Mailbox answers_;
  Way in_{.end = NcclPair::End::kReceiver};  // the caller's of Receive
  Way out_{.end = NcclPair::End::kSender};   // sender_'s

  mutable Mutex mutex_;
  CondVar changed_;
  absl::Status closed_ ABSL_GUARDED_BY(mutex_);
  std::string id_ ABSL_GUARDED_BY(mutex_);  // of out_; empty before the first message
  std::deque<Outgoing> queue_ ABSL_GUARDED_BY(mutex_);
  int64_t queued_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::thread sender_;  // started with the first message
  std::thread router_;
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_TRANSPORT_NCCL_LINK_H_
