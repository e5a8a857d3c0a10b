#include "coordinator/security_flags.h"

#include <spdlog/spdlog.h>

#include <string>

namespace espalier {

void AddSecurityFlags(CLI::App& app, CoordinatorSecurityFlags& flags) {
  const auto add = [&app](const char* name, auto& value, const char* type, const char* help) {
    app.add_option(name, value, help)->type_name(type)->group("Security");
  };
  add("--tls-cert", flags.tls.cert, "FILE",
      "This coordinator's certificate (PEM, then those up to its CA): connections are encrypted");
  add("--tls-key", flags.tls.key, "FILE", "Its private key (PEM, no passphrase)");
  add("--tls-client-ca", flags.tls.client_ca, "FILE",
      "Clients and workers must have a certificate signed by this CA (mutual TLS)");
  add("--token-file", flags.token_file, "FILE",
      "Clients must show one of these tokens: one a line, # comments, at least 16 characters");
  add("--worker-token-file", flags.worker_token_file, "FILE",
      "Workers must show one of these tokens");
  add("--model-root", flags.model_roots, "DIR",
      "Jobs may read models and texts only below this folder (may be given several times)");
  add("--output-root", flags.output_roots, "DIR",
      "Jobs may write results only below this folder (may be given several times)");
  app.add_flag("--insecure", flags.insecure,
               "Allow an address that other machines can reach although encryption, "
               "authentication or roots are missing")
      ->group("Security");
}

absl::StatusOr<CoordinatorSecurity> ReadAndLogSecurity(const CoordinatorSecurityFlags& flags) {
  Warnings warnings;
  absl::StatusOr<CoordinatorSecurity> security = ReadCoordinatorSecurity(flags, &warnings);
  for (const std::string& warning : warnings) spdlog::warn("{}", warning);
  return security;
}

}  // namespace espalier
