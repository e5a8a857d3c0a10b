// Who may look at the status endpoint.
#ifndef ESPALIER_COORDINATOR_STATUS_STATUS_GATE_H_
#define ESPALIER_COORDINATOR_STATUS_STATUS_GATE_H_

#include <httplib.h>

#include <optional>

#include "common/bearer_tokens.h"
#include "coordinator/status/status_server.h"

namespace espalier {

// Thread-safe.
class StatusGate {
 public:
  explicit StatusGate(const StatusSecurity& security);

  // Whether the request may be answered; otherwise the response says 401 and what to show.
  bool Admit(const httplib::Request& request, httplib::Response& response) const;

 private:
  bool Knows(const httplib::Request& request) const;

  const std::optional<TokenSet> tokens_;
  const bool open_;  // to everybody
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_STATUS_STATUS_GATE_H_
