// The one place where absl::Status and grpc::Status become each other, at the edge of a process.
// The codes are the same numbers. Header-only, so that only those who speak gRPC link it.
#ifndef ESPALIER_COMMON_GRPC_STATUS_H_
#define ESPALIER_COMMON_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"

namespace espalier {

inline grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

inline absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

}  // namespace espalier

#endif  // ESPALIER_COMMON_GRPC_STATUS_H_
