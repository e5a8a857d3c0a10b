// C++ owners for what the CUDA module hands out to the transport between GPUs.
#ifndef ESPALIER_WORKER_CUDA_NCCL_H_
#define ESPALIER_WORKER_CUDA_NCCL_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/cuda/loader.h"

namespace espalier {

// Device memory of its own. Not thread-safe; may be destroyed by any thread, once no work uses it.
class DeviceBuffer {
 public:
  // RESOURCE_EXHAUSTED with CUDA's reason when there is no memory. No bytes need none.
  static absl::StatusOr<DeviceBuffer> Allocate(const CudaModule& module, int device, int64_t bytes);

  void* data() const { return data_.get(); }

 private:
  struct Release {
    const EspalierCudaModule* table;
    int32_t device;
    void operator()(void* data) const { table->release(device, data); }
  };
  explicit DeviceBuffer(std::unique_ptr<void, Release> data) : data_(std::move(data)) {}

  std::unique_ptr<void, Release> data_;
};

// One end of the way from one GPU to another; see EspalierNcclPair. The destructor aborts it.
// Not thread-safe. Errors: UNAVAILABLE with NCCL's reason; then it is of no more use.
class NcclPair {
 public:
  enum class End { kSender, kReceiver };

  // A name for a new pair, kEspalierNcclIdBytes bytes.
  static absl::StatusOr<std::string> UniqueId(const CudaModule& module);
  // These three only begin; Poll says when they have ended. INVALID_ARGUMENT for an id of another
  // length.
  static absl::StatusOr<std::unique_ptr<NcclPair>> Open(const CudaModule& module, int device,
                                                        const std::string& id, End end);
  absl::Status Send(const void* data, int64_t bytes);
  absl::Status Receive(void* data, int64_t bytes);

  // Whether the last of these has ended.
  absl::StatusOr<bool> Poll();

 private:
  struct Abort {
    const EspalierCudaModule* table;
    void operator()(EspalierNcclPair* pair) const { table->nccl_abort(pair); }
  };
  NcclPair(const EspalierCudaModule* table, EspalierNcclPair* pair) : pair_(pair, Abort{table}) {}
  const EspalierCudaModule& table() const { return *pair_.get_deleter().table; }

  std::unique_ptr<EspalierNcclPair, Abort> pair_;
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_CUDA_NCCL_H_
