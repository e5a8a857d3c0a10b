// The connection to the coordinator, shared by the stream and the uploads.
#ifndef ESPALIER_WORKER_SERVICE_COORDINATOR_CHANNEL_H_
#define ESPALIER_WORKER_SERVICE_COORDINATOR_CHANNEL_H_

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "common/connection_security.h"
#include "common/grpc_credentials.h"
#include "common/grpc_keepalive.h"

namespace espalier {

// The same limit as the coordinator's: a data set of 16 million tokens, masks of any model.
inline constexpr int kMaxMessageBytes = 64 << 20;

// Connects when first used, and again after a loss. `address` as CoordinatorServer::address().
std::shared_ptr<grpc::Channel> MakeCoordinatorChannel(
    const std::string& address, const ConnectionSecurity& security = {},
    std::chrono::milliseconds keepalive = kKeepalive);

// Returns OK once connected; CANCELLED soon after `stop` returns true; UNAUTHENTICATED as soon as
// `doctor` finds that security is in the way; otherwise UNAVAILABLE at `deadline`, with the
// network's reason.
absl::Status AwaitConnection(const std::shared_ptr<grpc::Channel>& channel,
                             std::chrono::steady_clock::time_point deadline,
                             const std::function<bool()>& stop, ConnectionDoctor* doctor);

}  // namespace espalier

#endif  // ESPALIER_WORKER_SERVICE_COORDINATOR_CHANNEL_H_
