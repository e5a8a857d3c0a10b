// The worker's place among the stages of a model, as the coordinator assigns it.
#ifndef ESPALIER_WORKER_SERVICE_REPLICA_MEMBERSHIP_H_
#define ESPALIER_WORKER_SERVICE_REPLICA_MEMBERSHIP_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "common/connection_security.h"
#include "common/mutex.h"
#include "espalier/v1/worker.pb.h"
#include "worker/transport/grpc_transport.h"
#include "worker/transport/stage_server.h"

namespace espalier {

// Thread-safe.
class ReplicaMembership {
 public:
  // `server` is null for a worker that can only serve alone. `security` is what other workers are
  // dialled with.
  ReplicaMembership(std::unique_ptr<StageServer> server, ConnectionSecurity security)
      : server_(std::move(server)), security_(std::move(security)) {}
  ~ReplicaMembership() { Leave(); }

  // Where other stages reach this worker; empty: nowhere.
  std::string address() const { return server_ == nullptr ? "" : server_->address(); }

  // The replica before is over: whatever waits for its stages ends.
  void Join(const v1::JoinReplica& join);
  void Leave();

  // The way to the other stages; null for a worker that is alone in that epoch, or not in it.
  std::shared_ptr<Transport> TransportOf(uint64_t epoch) const;

 private:
  void Replace(std::shared_ptr<GrpcTransport> transport);

  const std::unique_ptr<StageServer> server_;
  const ConnectionSecurity security_;
  mutable Mutex mutex_;
  std::shared_ptr<GrpcTransport> transport_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_SERVICE_REPLICA_MEMBERSHIP_H_
