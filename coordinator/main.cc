// espalier-coordinator: owns jobs, hands their work to workers.
#include <signal.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>

#include "common/listen_address.h"
#include "common/status_macros.h"
#include "common/version.h"
#include "coordinator/security_flags.h"
#include "coordinator/service/server.h"

namespace espalier {
namespace {

constexpr int kBadUsage = 2;
constexpr char kNoStatus[] = "none";

struct Flags {
  std::string listen = "127.0.0.1:7070";
  std::string state = "espalier-state";
  std::string status_listen = "127.0.0.1:7071";
  int heartbeat_ms = 2000;
  int lease_ms = 10000;
  CoordinatorSecurityFlags security;
};

void AddFlags(CLI::App& app, Flags& flags) {
  app.add_option(
         "--listen", flags.listen,
         "Address for clients and workers: HOST:PORT, [IPV6]:PORT (port 0: any free one) or "
         "unix:/PATH")
      ->capture_default_str();
  app.add_option(
         "--state", flags.state,
         "Folder where jobs are kept (default: ./espalier-state): a coordinator that is started "
         "again with it goes on "
         "where the last one ended, however that was. \"none\": in memory, jobs end with the "
         "coordinator")
      ->option_text("DIR")
      ->capture_default_str();
  app.add_option("--status-listen", flags.status_listen,
                 "Address of the status page, its JSON and metrics (HTTP on this machine, "
                 "HTTPS with --tls-cert elsewhere): HOST:PORT or [IPV6]:PORT (port 0: any free "
                 "one); none: no such thing")
      ->capture_default_str();
  app.add_option("--heartbeat-ms", flags.heartbeat_ms, "How often workers report, in milliseconds")
      ->check(CLI::Range(1, 3600 * 1000))
      ->capture_default_str();
  app.add_option(
         "--lease-ms", flags.lease_ms,
         "A worker that was not heard of for so long is given up and its tasks go to others; "
         "at least three heartbeats")
      ->check(CLI::Range(3, 3 * 3600 * 1000))
      ->capture_default_str();
  AddSecurityFlags(app, flags.security);
  app.set_version_flag("--version", std::string(kVersion));
}

absl::Status CheckStatusReach(const Flags& flags, const CoordinatorSecurity& security) {
  if (flags.status_listen == kNoStatus || security.insecure) return absl::OkStatus();
  ESPALIER_ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(flags.status_listen));
  if (address.IsLoopback()) return absl::OkStatus();
  const bool authenticated = security.client_tokens.has_value() ||
                             (security.tls.has_value() && !security.tls->client_ca.empty());
  if (security.tls.has_value() && authenticated) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "--status-listen " + flags.status_listen +
      " can be reached from other machines: that needs --tls-cert and --tls-key, and "
      "--tls-client-ca or --token-file; or listen on 127.0.0.1 (an SSH tunnel can lead there), or "
      "add --insecure if the network is trusted");
}

absl::Status Serve(const Flags& flags) {
  absl::StatusOr<CoordinatorSecurity> security = ReadAndLogSecurity(flags.security);
  if (!security.ok()) return security.status();
  ESPALIER_RETURN_IF_ERROR(CheckStatusReach(flags, *security));
  // Before any thread exists, so that all of them leave these signals to sigwait.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  absl::StatusOr<std::unique_ptr<CoordinatorServer>> server = CoordinatorServer::Start(
      {.listen = flags.listen,
       .heartbeat = std::chrono::milliseconds(flags.heartbeat_ms),
       .lease = std::chrono::milliseconds(flags.lease_ms),
       .state = flags.state == "none" ? "" : flags.state,
       .security = *std::move(security),
       .status_listen = flags.status_listen == kNoStatus ? "" : flags.status_listen});
  if (!server.ok()) return server.status();
  int signal = 0;
  sigwait(&signals, &signal);
  spdlog::info("{}: shutting down", signal == SIGINT ? "SIGINT" : "SIGTERM");
  (*server)->Shutdown();
  return absl::OkStatus();
}

}  // namespace
}  // namespace espalier

int main(int argc, char** argv) {
  CLI::App app{
      "espalier-coordinator: takes jobs from clients (espalier submit) and hands their work to the "
      "workers that attach (espalier-worker --coordinator ADDRESS)."};
  app.footer(
      "It runs until SIGINT or SIGTERM. Messages go to standard error.\n\n"
      "An address that other machines can reach needs --tls-cert and --tls-key, --tls-client-ca "
      "or\n"
      "both kinds of tokens, --model-root and --output-root; or --insecure. "
      "scripts/make-dev-certs\n"
      "makes certificates to try it with; docs/security.md says more.");
  espalier::Flags flags;
  espalier::AddFlags(app, flags);
  CLI11_PARSE(app, argc, argv);
  spdlog::set_default_logger(spdlog::stderr_color_mt("espalier-coordinator"));
  const absl::Status status = espalier::Serve(flags);
  if (status.ok()) return 0;
  std::fprintf(stderr, "espalier-coordinator: %s\n", std::string(status.message()).c_str());
  return absl::IsInvalidArgument(status) ? espalier::kBadUsage : 1;
}
