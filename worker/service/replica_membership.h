// The worker's place among the stages of a model, as the coordinator assigns it.
#ifndef ESPALIER_WORKER_SERVICE_REPLICA_MEMBERSHIP_H_
#define ESPALIER_WORKER_SERVICE_REPLICA_MEMBERSHIP_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/connection_security.h"
#include "common/mutex.h"
#include "espalier/v1/worker.pb.h"
#include "worker/service/stage_gpu.h"
#include "worker/transport/grpc_transport.h"
#include "worker/transport/stage_server.h"

namespace espalier {

// Thread-safe.
class ReplicaMembership {
 public:
  // `server` is null for a worker that can only serve alone. `security` and `keepalive` are what
  // other workers are dialled with.
  ReplicaMembership(std::unique_ptr<StageServer> server, ConnectionSecurity security,
                    std::chrono::milliseconds keepalive, StageGpu gpu = {})
      : server_(std::move(server)),
        security_(std::move(security)),
        keepalive_(keepalive),
        gpu_(std::move(gpu)) {}
  ~ReplicaMembership() { Leave(); }

  // Where other stages reach this worker; empty: nowhere.
  std::string address() const { return server_ == nullptr ? "" : server_->address(); }

  // The replica before is over: whatever waits for its stages ends.
  void Join(const v1::JoinReplica& join);
  void Leave();

  // The way to the other stages; null for a worker that is alone in that epoch, or not in it. The
  // first call of an epoch may wait until all stages have said what they can do, and logs what was
  // chosen. From one thread. Errors as Transport's.
  absl::StatusOr<std::shared_ptr<Transport>> TransportOf(uint64_t epoch,
                                                         const std::atomic<bool>* cancelled);

 private:
  // The streams between the stages of the present replica; also the transport, unless NCCL is used.
  struct Place {
    std::shared_ptr<GrpcTransport> streams;
    std::shared_ptr<Transport> transport;  // null: not chosen yet
  };

  // Destroys it on another thread: a stream to a stage that stands still may end only when TCP
  // gives it up, and neither tasks nor the coordinator's messages wait for that.
  void Bury(std::unique_ptr<GrpcTransport> streams);
  StageOffer Offer() const;
  void Replace(std::shared_ptr<GrpcTransport> streams);
  absl::StatusOr<std::shared_ptr<Transport>> Choose(std::shared_ptr<GrpcTransport> streams,
                                                    const std::atomic<bool>* cancelled);
  // NCCL is not offered any more: a cluster in which it does not work loses one replica by that,
  // and not every one that it forms.
  void GiveUpNccl(const std::string& reason);

  Mutex burying_mutex_;
  std::vector<std::future<void>> burials_
      ABSL_GUARDED_BY(burying_mutex_);  // outlives what is below
  const std::unique_ptr<StageServer> server_;
  const ConnectionSecurity security_;
  const std::chrono::milliseconds keepalive_;
  const StageGpu gpu_;
  mutable Mutex mutex_;
  std::string nccl_failure_ ABSL_GUARDED_BY(mutex_);
  Place place_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_SERVICE_REPLICA_MEMBERSHIP_H_
