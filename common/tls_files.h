// Certificates and keys, read once from files and checked with OpenSSL before any server or client
// takes them: gRPC itself says no more than that a handshake failed. Nothing here knows gRPC, so
// that every kind of listener can use it.
#ifndef ESPALIER_COMMON_TLS_FILES_H_
#define ESPALIER_COMMON_TLS_FILES_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace espalier {

// What somebody should know although it is no error; for the log.
using Warnings = std::vector<std::string>;

// Contents of files in PEM form.
struct TlsIdentity {
  std::string certificates;  // the own one first, then those between it and its CA
  std::string key;
};
struct TlsServer {
  TlsIdentity identity;
  std::string client_ca{};  // empty: clients need no certificate
};
struct TlsClient {
  std::string ca;
  std::optional<TlsIdentity> identity{};
};

// Their names, as flags give them; empty: not given.
struct TlsServerFiles {
  std::string cert{};       // --tls-cert
  std::string key{};        // --tls-key
  std::string client_ca{};  // --tls-client-ca
};
struct TlsClientFiles {
  std::string ca{};    // --tls-ca
  std::string cert{};  // --tls-cert
  std::string key{};   // --tls-key
};

// None when no file is given. INVALID_ARGUMENT for flags that lack another, files that are no PEM,
// a key that is not the certificate's, an own certificate that is not valid today; otherwise the
// system's reason. Errors name flag and file.
absl::StatusOr<std::optional<TlsServer>> ReadTlsServer(const TlsServerFiles& files,
                                                       Warnings* warnings);
absl::StatusOr<std::optional<TlsClient>> ReadTlsClient(const TlsClientFiles& files,
                                                       Warnings* warnings);

// The contents of a file that `flag` names; errors name both. Warns when it is `secret` and every
// user of this machine may read or write it.
absl::StatusOr<std::string> ReadFlagFile(std::string_view flag, const std::string& path,
                                         bool secret, Warnings* warnings);

}  // namespace espalier

#endif  // ESPALIER_COMMON_TLS_FILES_H_
