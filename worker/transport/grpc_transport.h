// The transport over gRPC: a stream for each direction between two stages, opened when it is first
// needed. Carries host memory.
#ifndef ESPALIER_WORKER_TRANSPORT_GRPC_TRANSPORT_H_
#define ESPALIER_WORKER_TRANSPORT_GRPC_TRANSPORT_H_

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/connection_security.h"
#include "common/grpc_keepalive.h"
#include "common/mutex.h"
#include "worker/transport/mailbox.h"
#include "worker/transport/stage_offer.h"
#include "worker/transport/transport.h"

namespace espalier {

// In the initial metadata of a stream that is read from now on.
inline constexpr char kStageStreamOpen[] = "espalier-stage-open";

// Which replica, and this stage's place in it.
struct ReplicaPlace {
  uint64_t epoch = 0;  // names the replica; every replica has its own
  std::string secret;  // shows that who opens a stream belongs to it
  int rank = 0;
  std::vector<std::string> addresses;  // where each stage's StageServer listens, by rank
  StageOffer offer{};                  // this stage's; told to all others at once if it has a GPU
};

// What peers send arrives through a StageServer, which must know the transport. NcclTransport uses
// it as its control channel.
class GrpcTransport final : public Transport {
 public:
  GrpcTransport(ReplicaPlace place, ConnectionSecurity security,
                std::chrono::milliseconds keepalive = kKeepalive);
  ~GrpcTransport() override;  // as Abort

  int rank() const override { return place_.rank; }
  int size() const override { return static_cast<int>(place_.addresses.size()); }
  Memory memory() const override { return Memory::kHost; }
  const ReplicaPlace& place() const { return place_; }

  absl::Status Send(int peer, const MessageTag& tag, const void* data, int64_t bytes,
                    const std::atomic<bool>* cancelled) override;
  absl::Status Receive(int peer, const MessageTag& tag, void* data, int64_t bytes,
                       const std::atomic<bool>* cancelled) override;
  void Abort() override;

  // Waits for what all stages offer, by rank. Only for a stage that offers a GPU: others are not
  // told. Errors as the other calls'; UNAVAILABLE too when a stage is not heard of for half a
  // minute.
  absl::StatusOr<std::vector<StageOffer>> AwaitOffers(const std::atomic<bool>* cancelled);
  // The next message from `peer`, whatever its tag, without a bound of time.
  absl::StatusOr<Mailbox::Message> ReceiveAny(int peer);

  // The StageServer's: where what `peer` sends goes. FAILED_PRECONDITION for a second stream.
  absl::StatusOr<Mailbox*> OpenInbox(int peer, StageOffer offer);

 private:
  class Outgoing;

  Outgoing& OutgoingTo(int peer);
  absl::Status Explain(const absl::Status& status) const;

  const ReplicaPlace place_;
  const ConnectionSecurity security_;
  const std::chrono::milliseconds keepalive_;      // of the streams to peers
  std::vector<std::unique_ptr<Mailbox>> inboxes_;  // by rank
  std::atomic<bool> aborted_ = false;
  Mutex mutex_;
  CondVar changed_;                                           // offers_
  std::map<int, StageOffer> offers_ ABSL_GUARDED_BY(mutex_);  // of peers that opened their inbox
  std::map<int, std::unique_ptr<Outgoing>> outgoing_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_TRANSPORT_GRPC_TRANSPORT_H_
