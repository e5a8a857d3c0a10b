// The coordinator's HTTP status endpoint: JSON, metrics, probes, and a live page (docs/status.md).
// It only shows; nothing can be changed through it.
#ifndef ESPALIER_COORDINATOR_STATUS_STATUS_SERVER_H_
#define ESPALIER_COORDINATOR_STATUS_STATUS_SERVER_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/bearer_tokens.h"
#include "common/tls_files.h"
#include "coordinator/status/source.h"

namespace espalier {

// Who may look. /livez and /readyz are open to everybody.
struct StatusSecurity {
  std::optional<TlsServer> tls{};  // HTTPS; a certificate of its client CA opens everything
  // So does one of these, as `Authorization: Bearer TOKEN` or as the password of Basic
  // authentication, which is what browsers ask for. With neither, everybody may look.
  std::optional<TokenSet> tokens{};
};

// Thread-safe, but for Stop and the destructor.
class StatusServer {
 public:
  // `host` without brackets, port 0 for any free one. `source` outlives the server. UNAVAILABLE
  // when it cannot be listened on.
  // INVALID_ARGUMENT for certificates that OpenSSL does not take.
  static absl::StatusOr<std::unique_ptr<StatusServer>> Start(const std::string& host, int port,
                                                             const StatusSource* source,
                                                             const StatusSecurity& security);
  virtual ~StatusServer() = default;  // as Stop

  virtual int port() const = 0;
  // Ends all answers, event streams too; returns when no thread is left.
  virtual void Stop() = 0;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_STATUS_STATUS_SERVER_H_
