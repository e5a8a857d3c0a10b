#include "client/commands.h"

#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "absl/status/statusor.h"
#include "client/exit_codes.h"
#include "client/job_client.h"
#include "client/output.h"
#include "common/status_macros.h"
#include "common/version.h"

namespace espalier {
namespace {

void AddSecurityFlags(CLI::App& command, ConnectionSecurityFlags& flags) {
  const auto add = [&command](const char* name, std::string& value, const char* help) {
    command.add_option(name, value, help)->option_text("FILE")->group("Security");
  };
  add("--tls-ca", flags.tls.ca,
      "Encrypt, and trust a coordinator whose certificate this CA signed (default: "
      "$ESPALIER_TLS_CA)");
  add("--tls-cert", flags.tls.cert,
      "Certificate, for a coordinator that asks for one (default: $ESPALIER_TLS_CERT)");
  add("--tls-key", flags.tls.key, "Its private key (default: $ESPALIER_TLS_KEY)");
  add("--token-file", flags.token_file,
      "Show the first token in this file (default: $ESPALIER_TOKEN_FILE)");
  command
      .add_flag("--insecure", flags.insecure,
                "Allow the token to go to another machine unencrypted")
      ->group("Security");
}

// A flag that was given, else the variable.
std::string Or(const std::string& flag, const char* variable) {
  if (!flag.empty()) return flag;
  const char* value = std::getenv(variable);
  return value == nullptr ? "" : value;
}

}  // namespace

void AddJsonFlag(CLI::App& command, CommandLine& line, const std::string& what) {
  command.add_flag("--json", line.json, what);
}

void AddCoordinatorFlag(CLI::App& command, CommandLine& line) {
  command
      .add_option("--coordinator", line.coordinator,
                  "Coordinator (default: $ESPALIER_COORDINATOR, else 127.0.0.1:7070)")
      ->option_text("HOST:PORT");
  AddSecurityFlags(command, line.security);
}

std::string CoordinatorAddress(const CommandLine& line) {
  const std::string address = Or(line.coordinator, "ESPALIER_COORDINATOR");
  return address.empty() ? "127.0.0.1:7070" : address;
}

absl::StatusOr<std::unique_ptr<JobClient>> ConnectToCoordinator(const CommandLine& line) {
  ConnectionSecurityFlags flags = line.security;
  flags.tls.ca = Or(flags.tls.ca, "ESPALIER_TLS_CA");
  flags.tls.cert = Or(flags.tls.cert, "ESPALIER_TLS_CERT");
  flags.tls.key = Or(flags.tls.key, "ESPALIER_TLS_KEY");
  flags.token_file = Or(flags.token_file, "ESPALIER_TOKEN_FILE");
  JobClientOptions options{.address = CoordinatorAddress(line)};
  Warnings warnings;
  ESPALIER_ASSIGN_OR_RETURN(options.security,
                            ReadConnectionSecurity(flags, options.address, &warnings));
  for (const std::string& warning : warnings) std::cerr << "espalier: " << warning << '\n';
  return JobClient::Connect(options);
}

void AddVersionCommand(CLI::App& app, CommandLine& line) {
  CLI::App* command = app.add_subcommand("version", "Print this program's version");
  AddJsonFlag(*command, line, "Print {\"version\": ...}");
  command->callback([&line] {
    line.action = [&line] {
      const std::string version(kVersion);
      if (line.json) {
        PrintJson({{"version", version}});
      } else {
        PrintText("espalier " + version + "\n");
      }
      return kExitOk;
    };
  });
}

}  // namespace espalier
