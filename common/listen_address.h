// Addresses that a server listens on: "host:port", "[v6 address]:port", "unix:/path".
#ifndef ESPALIER_COMMON_LISTEN_ADDRESS_H_
#define ESPALIER_COMMON_LISTEN_ADDRESS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace espalier {

struct ListenAddress {
  std::string unix_path;  // empty: TCP
  std::string host;       // without brackets
  int port = 0;

  // Only this machine can connect: a Unix socket, localhost, 127.0.0.0/8 or ::1.
  bool IsLoopback() const;
  // As gRPC and people write it, with another port if that is not 0.
  std::string ToString(int real_port = 0) const;
};

// INVALID_ARGUMENT, saying how addresses look.
absl::StatusOr<ListenAddress> ParseListenAddress(const std::string& text);

// Tries to listen and lets go again, for an error with the system's own reason: UNAVAILABLE naming
// the address. For a Unix socket: UNAVAILABLE when somebody answers there.
absl::Status ProbeListen(const ListenAddress& address);

}  // namespace espalier

#endif  // ESPALIER_COMMON_LISTEN_ADDRESS_H_
