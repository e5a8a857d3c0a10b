#include "common/connection_security.h"

#include "absl/strings/str_cat.h"
#include "common/bearer_tokens.h"
#include "common/dial_address.h"
#include "common/status_macros.h"

namespace espalier {

absl::StatusOr<ConnectionSecurity> ReadConnectionSecurity(const ConnectionSecurityFlags& flags,
                                                          const std::string& address,
                                                          Warnings* warnings) {
  ConnectionSecurity security;
  ESPALIER_ASSIGN_OR_RETURN(security.tls, ReadTlsClient(flags.tls, warnings));
  if (flags.token_file.empty()) return security;
  ESPALIER_ASSIGN_OR_RETURN(security.token, ReadToken("--token-file", flags.token_file, warnings));
  const std::optional<DialAddress> dialled = ParseDialAddress(address);
  const bool stays_here = dialled.has_value() && dialled->IsLoopback();
  if (security.tls.has_value() || stays_here || flags.insecure) return security;
  return absl::InvalidArgumentError(
      absl::StrCat("the token of --token-file would go to ", address,
                   " unencrypted, for everybody on the way to read; encrypt with --tls-ca, or add "
                   "--insecure if the network is trusted"));
}

}  // namespace espalier
