#include "coordinator/service/security.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"

namespace espalier {
namespace {

absl::Status ReadTokens(const CoordinatorSecurityFlags& flags, Warnings* warnings,
                        CoordinatorSecurity* security) {
  if (!flags.token_file.empty()) {
    ESPALIER_ASSIGN_OR_RETURN(security->client_tokens,
                              TokenSet::Read("--token-file", flags.token_file, warnings));
  }
  if (!flags.worker_token_file.empty()) {
    ESPALIER_ASSIGN_OR_RETURN(
        security->worker_tokens,
        TokenSet::Read("--worker-token-file", flags.worker_token_file, warnings));
  }
  const std::optional<TokenSet>& clients = security->client_tokens;
  const std::optional<TokenSet>& workers = security->worker_tokens;
  if (clients.has_value() && workers.has_value() && clients->Intersects(*workers)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--token-file ", flags.token_file, " and --worker-token-file ", flags.worker_token_file,
        " have a token in common, so that a client could attach as a worker; give "
        "workers tokens of their own"));
  }
  if (clients.has_value() != workers.has_value() && flags.tls.client_ca.empty()) {
    warnings->push_back(clients.has_value()
                            ? "clients must show a token, but anything may attach as a worker; "
                              "add --worker-token-file"
                            : "workers must show a token, but anything may submit jobs; add "
                              "--token-file");
  }
  return absl::OkStatus();
}

// What an address that other machines can reach lacks, for people.
std::vector<std::string> Missing(const CoordinatorSecurity& security) {
  std::vector<std::string> missing;
  if (!security.tls.has_value()) missing.emplace_back("encryption (--tls-cert and --tls-key)");
  if (!security.tls.has_value() || security.tls->client_ca.empty()) {
    if (!security.client_tokens.has_value()) {
      missing.emplace_back("authentication of clients (--token-file, or --tls-client-ca)");
    }
    if (!security.worker_tokens.has_value()) {
      missing.emplace_back("authentication of workers (--worker-token-file, or --tls-client-ca)");
    }
  }
  if (!security.roots.models.restricts()) {
    missing.emplace_back("folders that jobs may read (--model-root)");
  }
  if (!security.roots.outputs.restricts()) {
    missing.emplace_back("folders that jobs may write to (--output-root)");
  }
  return missing;
}

}  // namespace

absl::StatusOr<CoordinatorSecurity> ReadCoordinatorSecurity(const CoordinatorSecurityFlags& flags,
                                                            Warnings* warnings) {
  CoordinatorSecurity security;
  security.insecure = flags.insecure;
  ESPALIER_ASSIGN_OR_RETURN(security.tls, ReadTlsServer(flags.tls, warnings));
  ESPALIER_RETURN_IF_ERROR(ReadTokens(flags, warnings, &security));
  ESPALIER_ASSIGN_OR_RETURN(security.roots.models,
                            PathRoots::Create("--model-root", flags.model_roots));
  ESPALIER_ASSIGN_OR_RETURN(security.roots.outputs,
                            PathRoots::Create("--output-root", flags.output_roots));
  return security;
}

absl::Status CheckReach(const ListenAddress& address, const CoordinatorSecurity& security) {
  if (address.IsLoopback() || security.insecure) return absl::OkStatus();
  const std::vector<std::string> missing = Missing(security);
  if (missing.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "--listen ", address.ToString(), " can be reached from other machines, but there is no ",
      absl::StrJoin(missing, ", no "),
      "; add what is missing (docs/security.md), listen on 127.0.0.1, or add --insecure if the "
      "network is trusted"));
}

}  // namespace espalier
