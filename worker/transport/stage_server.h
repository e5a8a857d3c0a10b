// The worker's own listener: takes what the other stages of its replica send.
#ifndef ESPALIER_WORKER_TRANSPORT_STAGE_SERVER_H_
#define ESPALIER_WORKER_TRANSPORT_STAGE_SERVER_H_

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/tls_files.h"
#include "worker/transport/grpc_transport.h"

namespace espalier {

// Thread-safe.
class StageServer {
 public:
  // `listen` is HOST:PORT (port 0: any free one) or unix:/path; `keepalive` as in grpc_keepalive.h.
  // Errors as ParseListenAddress and ProbeListen.
  static absl::StatusOr<std::unique_ptr<StageServer>> Start(
      const std::string& listen, const std::optional<TlsServer>& tls,
      std::chrono::milliseconds keepalive = kKeepalive);
  virtual ~StageServer() = default;  // ends all streams

  // As given to Start, with the real port: what the other stages dial.
  virtual std::string address() const = 0;
  // From now on streams of this transport's replica are taken, and of no other. Null: of none.
  // The one before is aborted.
  virtual void Serve(std::shared_ptr<GrpcTransport> transport) = 0;
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_TRANSPORT_STAGE_SERVER_H_
