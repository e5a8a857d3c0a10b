#include "worker/cuda/nccl.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/cuda/run.h"

namespace espalier {

absl::StatusOr<DeviceBuffer> DeviceBuffer::Allocate(const CudaModule& module, int device,
                                                    int64_t bytes) {
  const EspalierCudaModule* table = &module.table();
  void* data = nullptr;
  if (bytes > 0) {
    ESPALIER_RETURN_IF_ERROR(
        RunCuda(absl::StatusCode::kResourceExhausted, [&](char* error, size_t error_size) {
          return table->allocate(device, bytes, &data, error, error_size);
        }));
  }
  return DeviceBuffer(std::unique_ptr<void, Release>(data, Release{table, device}));
}

absl::StatusOr<std::string> NcclPair::UniqueId(const CudaModule& module) {
  std::string id(kEspalierNcclIdBytes, '\0');
  ESPALIER_RETURN_IF_ERROR(
      RunCuda(absl::StatusCode::kUnavailable, [&](char* error, size_t error_size) {
        return module.table().nccl_unique_id(id.data(), error, error_size);
      }));
  return id;
}

absl::StatusOr<std::unique_ptr<NcclPair>> NcclPair::Open(const CudaModule& module, int device,
                                                         const std::string& id, End end) {
  if (id.size() != kEspalierNcclIdBytes) {
    return absl::InvalidArgumentError(absl::StrCat("an NCCL id of ", id.size(), " bytes"));
  }
  EspalierNcclPair* pair = nullptr;
  ESPALIER_RETURN_IF_ERROR(
      RunCuda(absl::StatusCode::kUnavailable, [&](char* error, size_t error_size) {
        return module.table().nccl_open(device, id.data(), end == End::kSender ? 0 : 1, &pair,
                                        error, error_size);
      }));
  return std::unique_ptr<NcclPair>(new NcclPair(&module.table(), pair));
}

absl::Status NcclPair::Send(const void* data, int64_t bytes) {
  return RunCuda(absl::StatusCode::kUnavailable, [&](char* error, size_t error_size) {
    return table().nccl_send(pair_.get(), data, bytes, error, error_size);
  });
}

absl::Status NcclPair::Receive(void* data, int64_t bytes) {
  return RunCuda(absl::StatusCode::kUnavailable, [&](char* error, size_t error_size) {
    return table().nccl_receive(pair_.get(), data, bytes, error, error_size);
  });
}

absl::StatusOr<bool> NcclPair::Poll() {
  int32_t done = 0;
  ESPALIER_RETURN_IF_ERROR(
      RunCuda(absl::StatusCode::kUnavailable, [&](char* error, size_t error_size) {
        return table().nccl_poll(pair_.get(), &done, error, error_size);
      }));
  return done != 0;
}

}  // namespace espalier
