#include "coordinator/status/status_server.h"

#include <utility>

#include "common/status_macros.h"
#include "coordinator/status/http_server.h"
#include "coordinator/status/routes.h"
#include "coordinator/status/status_feed.h"

namespace espalier {
namespace {

constexpr int kMostStreams = 8;
constexpr size_t kThreads = kMostStreams + 4;  // so that streams leave some for the rest

class StatusServerImpl final : public StatusServer {
 public:
  explicit StatusServerImpl(const StatusSource* source)
      : feed_(source, {.most_streams = kMostStreams}),
        routes_(source, &feed_),
        server_(
            {.threads = kThreads},
            [this](const auto& request, auto& response) { routes_.Handle(request, response); },
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
  HttpServer server_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<StatusServer>> StatusServer::Start(const std::string& host, int port,
                                                                  const StatusSource* source) {
  auto server = std::make_unique<StatusServerImpl>(source);
  ESPALIER_RETURN_IF_ERROR(server->Listen(host, port));
  return server;
}

}  // namespace espalier
