// The coordinator as a gRPC server: WorkerService, JobService, health and reflection on one
// listener, around the pure core in coordinator/jobs. Its status, over HTTP, on another.
#ifndef ESPALIER_COORDINATOR_SERVICE_SERVER_H_
#define ESPALIER_COORDINATOR_SERVICE_SERVER_H_

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/service/security.h"

namespace espalier {

struct CoordinatorOptions {
  // "127.0.0.1:7070", "[::1]:0" (0: any free port) or "unix:/path/to/socket".
  std::string listen = "127.0.0.1:7070";
  std::chrono::milliseconds heartbeat{2000};
  std::chrono::milliseconds lease{10000};  // at least three heartbeats
  // Where jobs are kept across restarts (coordinator/store/job_store.h). Empty: in memory only.
  std::string state = "";
  CoordinatorSecurity security{};
  // "127.0.0.1:7071", "[::1]:0": the status endpoint (docs/status.md); empty: none.
  std::string status_listen = {};
};

// Thread-safe.
class CoordinatorServer {
 public:
  // UNAVAILABLE, naming the address, when it cannot be listened on (port in use, no permission).
  // INVALID_ARGUMENT when other machines could reach it and it is not protected (CheckReach).
  static absl::StatusOr<std::unique_ptr<CoordinatorServer>> Start(
      const CoordinatorOptions& options);
  virtual ~CoordinatorServer() = default;  // as Shutdown

  // What a client or worker dials, with the real port.
  virtual std::string address() const = 0;
  // HOST:PORT of the status endpoint; empty when there is none.
  virtual std::string status_address() const = 0;
  // Tells workers and clients, and returns when no thread is left. Jobs are cancelled, or, with a
  // state folder, go on after the next start.
  virtual void Shutdown() = 0;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_SERVICE_SERVER_H_
