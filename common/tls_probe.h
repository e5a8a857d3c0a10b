// Why a connection that was meant to be encrypted, or not to be, does not come about.
#ifndef ESPALIER_COMMON_TLS_PROBE_H_
#define ESPALIER_COMMON_TLS_PROBE_H_

#include <chrono>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "common/tls_files.h"

namespace espalier {

// For a client whose connection to a coordinator at `address` (see dial_address.h) fails: gRPC
// takes what TLS refuses for a coordinator that is not there, and tries again. This connects once
// more by itself, as a client with `tls` (none: a client without TLS), and looks at the handshake.
//
// UNAUTHENTICATED, saying what to do, if certificates are the reason, or that one side speaks TLS
// and the other does not. OK if they are not or nobody is there: that is for the caller to say.
// Takes up to a few times `timeout`.
absl::Status ProbeTls(const std::string& address, const std::optional<TlsClient>& tls,
                      std::chrono::milliseconds timeout);

}  // namespace espalier

#endif  // ESPALIER_COMMON_TLS_PROBE_H_
