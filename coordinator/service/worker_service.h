// WorkerService over CoordinatorCore: a thin adapter.
#ifndef ESPALIER_COORDINATOR_SERVICE_WORKER_SERVICE_H_
#define ESPALIER_COORDINATOR_SERVICE_WORKER_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include "coordinator/service/core.h"
#include "coordinator/service/token_gate.h"
#include "espalier/v1/worker.grpc.pb.h"

namespace espalier {

// Attach takes no thread per worker (callback API). An upload has a thread of its own, since it
// waits for the disk.
class WorkerServiceImpl final
    : public v1::WorkerService::WithCallbackMethod_Attach<v1::WorkerService::Service> {
 public:
  // Both outlive the server.
  WorkerServiceImpl(CoordinatorCore* core, const TokenGate* gate) : core_(core), gate_(gate) {}

  grpc::ServerBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage>* Attach(
      grpc::CallbackServerContext* context) override;
  grpc::Status UploadArtifact(grpc::ServerContext* context,
                              grpc::ServerReader<v1::ArtifactChunk>* reader,
                              v1::ArtifactReceipt* receipt) override;

 private:
  CoordinatorCore* const core_;
  const TokenGate* const gate_;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_SERVICE_WORKER_SERVICE_H_
