// A worker: one device, one stream to the coordinator, one task at a time.
#ifndef ESPALIER_WORKER_SERVICE_WORKER_H_
#define ESPALIER_WORKER_SERVICE_WORKER_H_

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/connection_security.h"
#include "common/grpc_keepalive.h"
#include "common/path_roots.h"
#include "worker/engine/engine.h"

namespace espalier {

// Where large temporary files go on most systems, on a disk.
inline constexpr char kDefaultScratch[] = "/var/tmp";

struct WorkerOptions {
  std::string coordinator;  // address, as CoordinatorServer::address()
  std::string name;         // empty: host:pid
  std::string device = "cpu";
  int threads = 0;        // 0 = all cores
  std::string scratch{};  // as EngineOptions::scratch
  // How long to try to reach the coordinator, at the start and after a lost connection;
  // zero: for ever.
  std::chrono::milliseconds connect_timeout{0};
  std::chrono::milliseconds keepalive =
      kKeepalive;  // of connections to the coordinator and to stages
  ConnectionSecurity security{};
  // Where the stages of a model that several workers hold together reach this one: HOST:PORT (port
  // 0: any free one) or unix:/path. Empty: nowhere, it can only hold whole models.
  std::string stage_listen{};
  std::string stage_advertise{};  // the address they dial for it; empty: the one it listens on
  std::optional<TlsServer> stage_tls{};
  // Activations may go to another machine unencrypted, which NCCL needs for stages there.
  bool stage_clear_text = false;
  PathRoots model_roots{};  // models are loaded only from below these folders
};

// Engine::Load, or a test's fake.
using EngineLoader = std::function<absl::StatusOr<std::unique_ptr<Engine>>(
    const std::filesystem::path& model, const EngineOptions& options)>;

// Thread-safe.
class Worker {
 public:
  // Starts the worker's threads; attaching goes on in the background.
  static absl::StatusOr<std::unique_ptr<Worker>> Start(const WorkerOptions& options,
                                                       EngineLoader loader);
  virtual ~Worker() = default;  // as Stop, then waits

  // Hands back what it has, says goodbye. Safe to call more than once.
  virtual void Stop() = 0;
  // Until stopped, or UNAVAILABLE naming the address when the coordinator was not reached within
  // `connect_timeout`, or FAILED_PRECONDITION when it refused this worker (another version, a wrong
  // token), or UNAUTHENTICATED when their TLS does not fit together.
  virtual absl::Status Wait() = 0;
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_SERVICE_WORKER_H_
