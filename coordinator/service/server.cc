#include "coordinator/service/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/grpc_credentials.h"
#include "common/grpc_keepalive.h"
#include "common/listen_address.h"
#include "common/status_macros.h"
#include "coordinator/service/core.h"
#include "coordinator/service/job_service.h"
#include "coordinator/service/token_gate.h"
#include "coordinator/service/unreadable_requests.h"
#include "coordinator/service/worker_service.h"
#include "coordinator/status/status_server.h"

namespace espalier {
namespace {

constexpr int kMaxMessageBytes = 64 << 20;
constexpr char kWorkerAdvice[] =
    "give espalier-worker a file with one of the coordinator's tokens for workers (--token-file)";
constexpr char kClientAdvice[] =
    "give a file with one of the coordinator's tokens for clients (--token-file or "
    "ESPALIER_TOKEN_FILE)";
// For calls to end by themselves at shutdown, before they are cancelled.
constexpr std::chrono::seconds kShutdownGrace{2};

absl::Status CheckOptions(const CoordinatorOptions& options) {
  if (options.heartbeat.count() < 1 || options.lease < 3 * options.heartbeat) {
    return absl::InvalidArgumentError(
        absl::StrCat("a lease of ", options.lease.count(), " ms with a heartbeat every ",
                     options.heartbeat.count(), " ms; it must last at least three heartbeats"));
  }
  return absl::OkStatus();
}

class CoordinatorServerImpl final : public CoordinatorServer {
 public:
  CoordinatorServerImpl(const CoordinatorOptions& options, std::unique_ptr<JobStore> store)
      : tls_(options.security.tls),
        tokens_(options.security.client_tokens),
        worker_gate_(options.security.worker_tokens, kWorkerAdvice),
        client_gate_(options.security.client_tokens, kClientAdvice),
        core_({.heartbeat = options.heartbeat,
               .lease = options.lease,
               .roots = options.security.roots},
              &searches_, std::move(store)),
        workers_(&core_, &worker_gate_),
        jobs_(&core_, &client_gate_) {}

  ~CoordinatorServerImpl() override { Shutdown(); }

  absl::Status Restore() { return core_.Restore(); }

  absl::Status Listen(const ListenAddress& address) {
    ESPALIER_RETURN_IF_ERROR(ProbeListen(address));
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    grpc::ServerBuilder builder;
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
    builder.SetMaxSendMessageSize(kMaxMessageBytes);
    SetKeepalive(&builder);
    ExplainUnreadableRequests(&builder);
    int port = 0;
    builder.AddListeningPort(address.ToString(), MakeServerCredentials(tls_), &port);
    builder.RegisterService(&workers_);
    builder.RegisterService(&jobs_);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) {
      return absl::UnavailableError(
          absl::StrCat("cannot listen on ", address.ToString(),
                       "; check that it is free and that this user may use it"));
    }
    address_ = address.ToString(port);
    return absl::OkStatus();
  }

  absl::Status ListenForStatus(const ListenAddress& address) {
    if (!address.unix_path.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          address.ToString(), ": the status endpoint listens on HOST:PORT or [IPV6]:PORT"));
    }
    ESPALIER_RETURN_IF_ERROR(ProbeListen(address));
    // On this machine a browser needs neither certificates nor tokens.
    const StatusSecurity security =
        address.IsLoopback() ? StatusSecurity() : StatusSecurity{.tls = tls_, .tokens = tokens_};
    ESPALIER_ASSIGN_OR_RETURN(status_,
                              StatusServer::Start(address.host, address.port, &core_, security));
    status_address_ = address.ToString(status_->port());
    spdlog::info("status on {}://{}/", security.tls.has_value() ? "https" : "http",
                 status_address_);
    return absl::OkStatus();
  }

  std::string address() const override { return address_; }
  std::string status_address() const override { return status_address_; }

  void Shutdown() override {
    MutexLock lock(&mutex_);
    core_.Shutdown();
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now() + kShutdownGrace);
    server_->Wait();
    server_.reset();
    // Last, so that those who watch see how it ends, and probes that it does.
    if (status_ != nullptr) status_->Stop();
  }

 private:
  const std::optional<TlsServer> tls_;
  const std::optional<TokenSet> tokens_;  // of clients
  const TokenGate worker_gate_;
  const TokenGate client_gate_;
  const SubnetSearchFactory searches_;
  CoordinatorCore core_;
  WorkerServiceImpl workers_;
  JobServiceImpl jobs_;
  std::string address_;
  std::string status_address_;
  std::unique_ptr<StatusServer> status_;
  Mutex mutex_;
  std::unique_ptr<grpc::Server> server_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<std::unique_ptr<CoordinatorServer>> CoordinatorServer::Start(
    const CoordinatorOptions& options) {
  ESPALIER_RETURN_IF_ERROR(CheckOptions(options));
  ESPALIER_ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(options.listen));
  ESPALIER_RETURN_IF_ERROR(CheckReach(address, options.security));
  std::unique_ptr<JobStore> store;
  if (!options.state.empty()) {
    ESPALIER_ASSIGN_OR_RETURN(store, JobStore::Open(options.state));
  }
  auto server = std::make_unique<CoordinatorServerImpl>(options, std::move(store));
  ESPALIER_RETURN_IF_ERROR(server->Restore());
  ESPALIER_RETURN_IF_ERROR(server->Listen(address));
  if (!options.status_listen.empty()) {
    ESPALIER_ASSIGN_OR_RETURN(const ListenAddress status,
                              ParseListenAddress(options.status_listen));
    if (const absl::Status listening = server->ListenForStatus(status); !listening.ok()) {
      return absl::Status(listening.code(),
                          absl::StrCat("status endpoint (--status-listen): ", listening.message()));
    }
  }
  if (options.security.tls.has_value()) spdlog::info("connections are encrypted (TLS)");
  spdlog::info("listening on {}", server->address());
  return server;
}

}  // namespace espalier
