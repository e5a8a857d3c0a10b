// Stages on GPUs, or on the fake ones of a test's CUDA module, in one process.
#ifndef ESPALIER_WORKER_TRANSPORT_TESTING_NCCL_REPLICA_H_
#define ESPALIER_WORKER_TRANSPORT_TESTING_NCCL_REPLICA_H_

#include <functional>
#include <memory>
#include <vector>

#include "worker/cuda/loader.h"
#include "worker/transport/nccl_transport.h"
#include "worker/transport/stage_server.h"

namespace espalier {

// Stage r is on device r. Each may be used by a thread of its own.
class NcclReplica {
 public:
  // `adjust` (may be empty) changes the options of all stages.
  NcclReplica(int size, const CudaModule& module,
              const std::function<void(NcclOptions*)>& adjust = nullptr);

  Transport& stage(int rank) { return *transports_[rank]; }
  // What the others see when its process dies: its streams end, and NCCL's other end is silent.
  void Kill(int rank) { servers_[rank]->Serve(nullptr); }

 private:
  std::vector<std::unique_ptr<StageServer>> servers_;
  std::vector<std::unique_ptr<NcclTransport>> transports_;
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_TRANSPORT_TESTING_NCCL_REPLICA_H_
