// The transport between GPUs: NCCL moves the tensors, and the streams of a GrpcTransport carry what
// NCCL has not: message tags, messages that are dropped, and the news that a stage is lost.
//
// The sender copies a tensor to a buffer of its own, announces its tag and size, and goes on. The
// receiver answers each announcement in order: it drops the message when it waits for a later one,
// and accepts the one that it waits for. Only then do both begin the transfer. So a transfer that
// has begun always ends, unless a side dies, and what a receiver gave up costs no transfer at all.
//
// A transfer that does not end (the stream to the peer is lost, this side is aborted, NCCL reports
// an error, or it takes longer than the patience) is aborted with its communicator, on this side
// alone. Then nothing goes to or comes from that peer any more.
#ifndef ESPALIER_WORKER_TRANSPORT_NCCL_TRANSPORT_H_
#define ESPALIER_WORKER_TRANSPORT_NCCL_TRANSPORT_H_

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/cuda/loader.h"
#include "worker/transport/grpc_transport.h"
#include "worker/transport/transport.h"

namespace espalier {

struct NcclOptions {
  CudaModule module;
  int device = 0;  // that the pointers belong to
  // Both begin when both sides are ready. The first transfer of a direction also connects.
  std::chrono::milliseconds set_up_patience{60'000};
  std::chrono::milliseconds transfer_patience{60'000};
  // Called, from any thread, when NCCL failed on a way between two stages that never carried
  // anything, with the reason. May be empty.
  std::function<void(const std::string& reason)> on_unusable{};
};

class NcclLink;

// Up to 64 MiB of messages, or one that is larger, wait on the sender's device.
class NcclTransport final : public Transport {
 public:
  // `control` is served by this worker's StageServer and used by nobody else.
  NcclTransport(std::shared_ptr<GrpcTransport> control, NcclOptions options);
  ~NcclTransport() override;  // as Abort, then waits for its threads and for NCCL

  int rank() const override { return control_->rank(); }
  int size() const override { return control_->size(); }
  Memory memory() const override { return Memory::kDevice; }

  absl::Status Send(int peer, const MessageTag& tag, const void* data, int64_t bytes,
                    const std::atomic<bool>* cancelled) override;
  // Once it has accepted the message, it ends with the transfer, cancelled or not.
  absl::Status Receive(int peer, const MessageTag& tag, void* data, int64_t bytes,
                       const std::atomic<bool>* cancelled) override;
  void Abort() override;

 private:
  const std::shared_ptr<GrpcTransport> control_;
  const NcclOptions options_;
  std::vector<std::unique_ptr<NcclLink>> links_;  // by rank; null for this stage
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_TRANSPORT_NCCL_TRANSPORT_H_
