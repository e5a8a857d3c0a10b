// gRPC's credentials and channels from what tls_files.h and connection_security.h have read: the
// one place where our security becomes gRPC's.
#ifndef ESPALIER_COMMON_GRPC_CREDENTIALS_H_
#define ESPALIER_COMMON_GRPC_CREDENTIALS_H_

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "common/connection_security.h"
#include "common/tls_files.h"

namespace espalier {

// Without `tls`: everything in the clear.
std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(const std::optional<TlsServer>& tls);

// A channel whose every call shows the token.
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address,
                                           const ConnectionSecurity& security,
                                           const grpc::ChannelArguments& arguments);

// Finds out whether security is why a channel does not connect. Not thread-safe.
class ConnectionDoctor {
 public:
  // Both outlive this.
  ConnectionDoctor(const std::string& address, const ConnectionSecurity& security)
      : address_(address), security_(security) {}

  // Call now and then while the channel is not connected. UNAUTHENTICATED, saying what to do, when
  // trying again is useless.
  absl::Status Examine(grpc::Channel& channel);

 private:
  const std::string& address_;
  const ConnectionSecurity& security_;
  std::chrono::steady_clock::time_point next_{};  // not before
};

}  // namespace espalier

#endif  // ESPALIER_COMMON_GRPC_CREDENTIALS_H_
