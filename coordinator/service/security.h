// What protects a coordinator: TLS, tokens, and the folders that jobs are confined to.
#ifndef ESPALIER_COORDINATOR_SERVICE_SECURITY_H_
#define ESPALIER_COORDINATOR_SERVICE_SECURITY_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/bearer_tokens.h"
#include "common/listen_address.h"
#include "common/tls_files.h"
#include "coordinator/service/preparation.h"

namespace espalier {

struct CoordinatorSecurity {
  std::optional<TlsServer> tls{};
  std::optional<TokenSet> client_tokens{};  // none: JobService asks for no token
  std::optional<TokenSet> worker_tokens{};  // none: WorkerService asks for no token
  JobRoots roots{};
  bool insecure = false;  // any address may be listened on, whatever is missing
};

// As flags give it.
struct CoordinatorSecurityFlags {
  TlsServerFiles tls{};
  std::string token_file{};                 // --token-file
  std::string worker_token_file{};          // --worker-token-file
  std::vector<std::string> model_roots{};   // --model-root
  std::vector<std::string> output_roots{};  // --output-root
  bool insecure = false;                    // --insecure
};

// Reads and checks all files. Errors as ReadTlsServer, TokenSet::Read and PathRoots::Create;
// INVALID_ARGUMENT too when a token would serve clients and workers alike.
absl::StatusOr<CoordinatorSecurity> ReadCoordinatorSecurity(const CoordinatorSecurityFlags& flags,
                                                            Warnings* warnings);

// INVALID_ARGUMENT, saying what is missing, when other machines can reach the address and it is not
// protected by TLS, by client certificates or tokens for both services, and by roots.
absl::Status CheckReach(const ListenAddress& address, const CoordinatorSecurity& security);

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_SERVICE_SECURITY_H_
