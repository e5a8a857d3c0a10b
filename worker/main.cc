// espalier-worker: computes on one device what a coordinator asks for.
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/connection_security.h"
#include "common/dial_address.h"
#include "common/listen_address.h"
#include "common/path_roots.h"
#include "common/status_macros.h"
#include "common/version.h"
#include "worker/engine/engine.h"
#include "worker/service/worker.h"

namespace espalier {
namespace {

constexpr char kDescription[] =
    "Computes on one device what an Espalier coordinator asks for: scores candidate subnets,\n"
    "calibrates, reforms and exports. Models are read from the paths that jobs name, so these "
    "must\n"
    "exist on this machine. Stop it with SIGTERM or Ctrl-C: it hands back its task, says goodbye\n"
    "and exits with 0.";
constexpr char kExample[] =
    "Example, two workers on one machine:\n"
    "  espalier-coordinator --listen 127.0.0.1:7070 &\n"
    "  espalier-worker --coordinator 127.0.0.1:7070 --threads 4 &\n"
    "  espalier-worker --coordinator 127.0.0.1:7070 --device cuda:0 &\n"
    "  espalier submit job.yaml --coordinator 127.0.0.1:7070\n"
    "A coordinator on another machine, encrypted, with proof of who is who on both sides:\n"
    "  espalier-worker --coordinator gpu-1:7070 --tls-ca ca.pem --tls-cert worker.pem\n"
    "      --tls-key worker-key.pem --token-file worker-tokens --model-root /models\n"
    "Exit codes: 0 stopped by a signal, 1 no coordinator or refused by it, 2 bad arguments.";

struct SecurityFlags {
  ConnectionSecurityFlags connection;
  std::vector<std::string> model_roots;
  std::optional<std::string> stage_listen;
  std::string stage_advertise;
};

void AddSecurityFlags(CLI::App& app, SecurityFlags& flags) {
  const auto add = [&app](const char* name, auto& value, const char* type, const char* help) {
    app.add_option(name, value, help)->type_name(type)->group("Security");
  };
  add("--tls-ca", flags.connection.tls.ca, "FILE",
      "Encrypt, and trust a coordinator whose certificate this CA signed (PEM)");
  add("--tls-cert", flags.connection.tls.cert, "FILE",
      "This worker's certificate, for a coordinator that asks for one (PEM)");
  add("--tls-key", flags.connection.tls.key, "FILE", "Its private key (PEM, no passphrase)");
  add("--token-file", flags.connection.token_file, "FILE",
      "Show the first token in this file to the coordinator");
  add("--model-root", flags.model_roots, "DIR",
      "Load models only from below this folder (may be given several times)");
  app.add_flag("--insecure", flags.connection.insecure,
               "Allow the token, and activations, to go to another machine unencrypted; stages on\n"
               "different machines use NCCL only with it")
      ->group("Security");
}

// Where the other stages of a model reach this worker, and how that is protected.
absl::Status ReadStageListener(const SecurityFlags& flags, Warnings* warnings,
                               WorkerOptions* options) {
  const std::optional<DialAddress> coordinator = ParseDialAddress(options->coordinator);
  const bool local = coordinator.has_value() && coordinator->IsLoopback();
  options->stage_listen = flags.stage_listen.value_or(local ? "127.0.0.1:0" : "none");
  if (options->stage_listen == "none") options->stage_listen.clear();
  if (!flags.stage_advertise.empty()) {
    if (options->stage_listen.empty()) {
      return absl::InvalidArgumentError("--stage-advertise: there is no --stage-listen");
    }
    if (!ParseDialAddress(flags.stage_advertise).has_value()) {
      return absl::InvalidArgumentError(absl::StrCat("--stage-advertise ", flags.stage_advertise,
                                                     ": not HOST:PORT or unix:/path"));
    }
    options->stage_advertise = flags.stage_advertise;
  }
  if (options->stage_listen.empty()) return absl::OkStatus();
  options->stage_clear_text = flags.connection.insecure;
  ESPALIER_ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(options->stage_listen));
  if (address.unix_path.empty() && (address.host == "0.0.0.0" || address.host == "::") &&
      options->stage_advertise.empty()) {
    return absl::InvalidArgumentError(
        "--stage-listen: give the address by which the other workers reach this one, such as "
        "gpu-3:7072, not a wildcard; or say it with --stage-advertise");
  }
  const TlsClientFiles& files = flags.connection.tls;
  if (!files.cert.empty()) {
    ESPALIER_ASSIGN_OR_RETURN(
        options->stage_tls,
        ReadTlsServer({.cert = files.cert, .key = files.key, .client_ca = files.ca}, warnings));
  }
  if (address.IsLoopback() || options->stage_tls.has_value() || flags.connection.insecure) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "--stage-listen ", address.ToString(),
      ": other machines can reach it, and it is not encrypted; give --tls-cert, --tls-key and "
      "--tls-ca, or --insecure"));
}

absl::Status ReadSecurity(const SecurityFlags& flags, WorkerOptions* options) {
  Warnings warnings;
  ESPALIER_RETURN_IF_ERROR(ReadStageListener(flags, &warnings, options));
  ESPALIER_ASSIGN_OR_RETURN(
      options->security, ReadConnectionSecurity(flags.connection, options->coordinator, &warnings));
  ESPALIER_ASSIGN_OR_RETURN(options->model_roots,
                            PathRoots::Create("--model-root", flags.model_roots));
  for (const std::string& warning : warnings) spdlog::warn("{}", warning);
  return absl::OkStatus();
}

// Calls `on_signal` on a thread of its own after SIGTERM or SIGINT. Construct it before any other
// thread starts: they inherit the blocked signals.
class StopSignals {
 public:
  StopSignals() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    signals_ = signalfd(-1, &signals, SFD_CLOEXEC);
    finished_ = eventfd(0, EFD_CLOEXEC);
  }
  ~StopSignals() {
    const uint64_t one = 1;
    if (write(finished_, &one, sizeof(one)) != sizeof(one)) std::perror("eventfd");
    if (thread_.joinable()) thread_.join();
    close(signals_);
    close(finished_);
  }
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  void Watch(std::function<void()> on_signal) {
    thread_ = std::thread([this, on_signal = std::move(on_signal)] {
      pollfd files[] = {{signals_, POLLIN, 0}, {finished_, POLLIN, 0}};
      while (poll(files, 2, -1) < 0 && errno == EINTR) {
      }
      if (files[0].revents != 0) on_signal();
    });
  }

 private:
  int signals_ = -1;
  int finished_ = -1;
  std::thread thread_;
};

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "espalier-worker: %s\n", std::string(status.message()).c_str());
  return status.code() == absl::StatusCode::kInvalidArgument ? 2 : 1;
}

int Run(WorkerOptions options, const SecurityFlags& security) {
  spdlog::set_default_logger(spdlog::stderr_color_mt("worker"));
  if (const absl::Status status = ReadSecurity(security, &options); !status.ok()) {
    return Fail(status);
  }
  StopSignals signals;
  absl::StatusOr<std::unique_ptr<Worker>> worker = Worker::Start(options, Engine::Load);
  if (!worker.ok()) return Fail(worker.status());
  signals.Watch([&] {
    spdlog::info("stopping: the task in hand goes back to the coordinator");
    (*worker)->Stop();
  });
  const absl::Status outcome = (*worker)->Wait();
  return outcome.ok() ? 0 : Fail(outcome);
}

int Main(int argc, char** argv) {
  CLI::App app{kDescription, "espalier-worker"};
  app.footer(kExample);
  app.set_version_flag("--version", std::string(kVersion));
  WorkerOptions options;
  SecurityFlags security;
  double connect_timeout = 60;
  int64_t keepalive_ms = options.keepalive.count();
  std::optional<std::string> scratch;
  app.add_option("--coordinator", options.coordinator,
                 "Where the coordinator listens: HOST:PORT or unix:/path/to/socket")
      ->type_name("ADDR")
      ->required();
  app.add_option("--device", options.device, "cpu, or cuda:N for the N-th GPU")
      ->type_name("DEVICE")
      ->capture_default_str();
  app.add_option("--threads", options.threads, "Threads of the cpu device; 0 = all cores")
      ->type_name("N")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  app.add_option(
         "--scratch", scratch,
         "Folder on a local disk for repaired modules that memory has no room for: at most\n"
         "a quarter of what is free there, gone with the worker; none = make them again\n"
         "(default: /var/tmp)")
      ->type_name("DIR");
  app.add_option("--name", options.name, "Shown in lists of workers (default: host:pid)")
      ->type_name("NAME");
  app.add_option("--connect-timeout", connect_timeout,
                 "How long to try to reach the coordinator, at the start and after a lost\n"
                 "connection; 0 = for ever")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  app.add_option("--stage-listen", security.stage_listen,
                 "Where other workers reach this one when several hold a model together:\n"
                 "HOST:PORT (port 0: any free one), unix:/path, or none (default: 127.0.0.1:0\n"
                 "with a coordinator on this machine, otherwise none)")
      ->type_name("ADDR");
  app.add_option("--stage-advertise", security.stage_advertise,
                 "The address by which they reach it, where that is another one: behind a port\n"
                 "mapping, or with a --stage-listen on all interfaces")
      ->type_name("ADDR");
  app.add_option(
         "--keepalive-ms", keepalive_ms,
         "After so long without a sign of the coordinator, or of another stage of its model, ask\n"
         "for one; the connection is lost when twice that time brings no answer")
      ->check(CLI::Range(1, 3600 * 1000))
      ->capture_default_str();
  AddSecurityFlags(app, security);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  options.connect_timeout = std::chrono::milliseconds(static_cast<int64_t>(connect_timeout * 1000));
  options.keepalive = std::chrono::milliseconds(keepalive_ms);
  options.scratch = scratch.value_or(kDefaultScratch);
  if (options.scratch == "none") options.scratch.clear();
  if (scratch.has_value() && !options.scratch.empty() &&
      access(options.scratch.c_str(), W_OK | X_OK) != 0) {
    std::fprintf(stderr, "error: --scratch %s: %s; name a folder that can be written to, or none\n",
                 options.scratch.c_str(), std::strerror(errno));
    return 2;
  }
  return Run(std::move(options), security);
}

}  // namespace
}  // namespace espalier

int main(int argc, char** argv) { return espalier::Main(argc, argv); }
