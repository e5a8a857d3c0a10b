// Opens libespalier_cuda.so (worker/cuda/module.h) when a CUDA device is asked for.
#ifndef ESPALIER_WORKER_CUDA_LOADER_H_
#define ESPALIER_WORKER_CUDA_LOADER_H_

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/cuda/module.h"

namespace espalier {

struct CudaDevice {
  std::string name;         // for people
  std::string uuid;         // the same in every process that sees this GPU
  std::string compute;      // "9.0"
  int64_t total_bytes = 0;  // of device memory
  int64_t free_bytes = 0;
};

// Where the module is looked for: beside the running program, and in ../lib from there.
std::vector<std::filesystem::path> CudaModuleFolders();

// Thread-safe; freely copied.
class CudaModule {
 public:
  // Opens the first module found in `folders`. It stays open until the process ends: libtorch's
  // CUDA kernels cannot be unloaded. NOT_FOUND, naming the folders, when there is none;
  // FAILED_PRECONDITION when it cannot be opened (a CUDA library is missing: named) or belongs to
  // another build.
  static absl::StatusOr<CudaModule> Open(
      const std::vector<std::filesystem::path>& folders = CudaModuleFolders());

  // FAILED_PRECONDITION with CUDA's reason when there is no driver.
  absl::StatusOr<int> DeviceCount() const;
  // INVALID_ARGUMENT, saying how many devices there are, when there is no such one.
  absl::StatusOr<CudaDevice> Describe(int device) const;
  // Waits for all work on the device. INTERNAL with CUDA's reason when some of it failed.
  absl::Status Synchronize(int device) const;
  // After all work on libtorch's current stream of the calling thread; returns when that and the
  // copy have ended. Device or host memory on either side. INTERNAL with CUDA's reason.
  absl::Status Copy(int device, void* to, const void* from, int64_t bytes) const;
  // Waits for all work on that stream. INTERNAL with CUDA's reason.
  absl::Status FinishStream(int device) const;
  // "2.28.3".
  absl::StatusOr<std::string> NcclVersion() const;

  // The functions themselves, for the owners in nccl.h. A table that is no opened module's is a
  // test's.
  explicit CudaModule(const EspalierCudaModule* table) : table_(table) {}
  const EspalierCudaModule& table() const { return *table_; }

 private:
  const EspalierCudaModule* table_;
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_CUDA_LOADER_H_
