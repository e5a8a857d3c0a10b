// How a client or a worker proves itself to the coordinator and the coordinator to it.
#ifndef ESPALIER_COMMON_CONNECTION_SECURITY_H_
#define ESPALIER_COMMON_CONNECTION_SECURITY_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/tls_files.h"

namespace espalier {

struct ConnectionSecurity {
  std::optional<TlsClient> tls{};  // none: nothing is encrypted
  std::string token{};             // empty: none is shown
};

// As flags give it.
struct ConnectionSecurityFlags {
  TlsClientFiles tls{};
  std::string token_file{};  // --token-file
  bool insecure = false;     // --insecure: a token may go anywhere in the clear
};

// Reads and checks the files for a connection to `address`. INVALID_ARGUMENT as ReadTlsClient and
// ParseTokens, and when a token would leave this machine without encryption.
absl::StatusOr<ConnectionSecurity> ReadConnectionSecurity(const ConnectionSecurityFlags& flags,
                                                          const std::string& address,
                                                          Warnings* warnings);

}  // namespace espalier

#endif  // ESPALIER_COMMON_CONNECTION_SECURITY_H_
