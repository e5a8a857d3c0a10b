#include "coordinator/status/status_server.h"

#include <utility>

#include "common/status_macros.h"
#include "coordinator/status/http_server.h"
#include "coordinator/status/routes.h"
#include "coordinator/status/status_feed.h"
#include "coordinator/status/status_gate.h"

namespace espalier {
namespace {

constexpr int kMostStreams = 8;
constexpr size_t kThreads = kMostStreams + 4;  // so that streams leave some for the rest

class StatusServerImpl final : public StatusServer {
 public:
  StatusServerImpl(const StatusSource* source, const StatusSecurity& security,
                   std::optional<TlsContext> tls)
      : feed_(source, {.most_streams = kMostStreams}),
        routes_(source, &feed_),
        gate_(security),
        server_(
            {.threads = kThreads, .tls = std::move(tls)},
            [this](const auto& request, auto& response) {
              if (gate_.Admit(request, response)) routes_.Handle(request, response);
            },
            &StatusRoutes::Explain) {}
  ~StatusServerImpl() override { Stop(); }

  absl::Status Listen(const std::string& host, int port) { return server_.Start(host, port); }
  int port() const override { return server_.port(); }

  void Stop() override {
    feed_.Stop();
    server_.Stop();
  }

 private:
  StatusFeed feed_;
  const StatusRoutes routes_;
  const StatusGate gate_;
  HttpServer server_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<StatusServer>> StatusServer::Start(const std::string& host, int port,
                                                                  const StatusSource* source,
                                                                  const StatusSecurity& security) {
  std::optional<TlsContext> tls;
  if (security.tls.has_value()) {
    ESPALIER_ASSIGN_OR_RETURN(tls, TlsContext::Create(*security.tls));
  }
  auto server = std::make_unique<StatusServerImpl>(source, security, std::move(tls));
  ESPALIER_RETURN_IF_ERROR(server->Listen(host, port));
  return server;
}

}  // namespace espalier
