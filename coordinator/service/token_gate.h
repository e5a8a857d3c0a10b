// The one check that every call of a service passes: does it show one of the service's tokens?
#ifndef ESPALIER_COORDINATOR_SERVICE_TOKEN_GATE_H_
#define ESPALIER_COORDINATOR_SERVICE_TOKEN_GATE_H_

#include <grpcpp/grpcpp.h>

#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "common/bearer_tokens.h"

namespace espalier {

// Thread-safe.
class TokenGate {
 public:
  // Without tokens every call passes. `advice` tells a caller how to show one.
  TokenGate(std::optional<TokenSet> tokens, std::string advice)
      : tokens_(std::move(tokens)), advice_(std::move(advice)) {}

  // UNAUTHENTICATED, with the advice, unless the call's metadata have `authorization: Bearer TOKEN`
  // with one of the tokens.
  absl::Status Check(const grpc::ServerContextBase& context) const;

 private:
  const std::optional<TokenSet> tokens_;
  const std::string advice_;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_SERVICE_TOKEN_GATE_H_
