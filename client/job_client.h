// JobService as plain calls: deadlines on every one, absl::Status out, errors that name the
// address.
#ifndef ESPALIER_CLIENT_JOB_CLIENT_H_
#define ESPALIER_CLIENT_JOB_CLIENT_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/connection_security.h"
#include "common/grpc_keepalive.h"
#include "espalier/v1/jobs.pb.h"

namespace espalier {

struct JobClientOptions {
  std::string address;  // as CoordinatorServer::address()
  std::chrono::milliseconds connect_timeout{3000};
  std::chrono::milliseconds call_timeout{10000};  // of every call but Watch
  std::chrono::milliseconds keepalive = kKeepalive;
  ConnectionSecurity security{};
};

// Thread-safe.
class JobClient {
 public:
  // UNAVAILABLE, naming the address and what to do, when no coordinator answers there in time;
  // UNAUTHENTICATED as soon as it is known that their TLS does not fit together.
  static absl::StatusOr<std::unique_ptr<JobClient>> Connect(const JobClientOptions& options);
  virtual ~JobClient() = default;

  virtual absl::StatusOr<v1::Job> Submit(const std::string& spec_yaml,
                                         const std::string& idempotency_key) = 0;
  virtual absl::StatusOr<v1::Job> Get(const std::string& id) = 0;
  virtual absl::StatusOr<v1::ListJobsResponse> List() = 0;
  virtual absl::StatusOr<v1::Job> Cancel(const std::string& id) = 0;
  virtual absl::StatusOr<v1::Job> Pause(const std::string& id) = 0;
  virtual absl::StatusOr<v1::Job> Resume(const std::string& id) = 0;
  virtual absl::Status Delete(const std::string& id) = 0;
  virtual absl::Status Drain(const std::string& worker) = 0;
  virtual absl::StatusOr<v1::ListWorkersResponse> Workers() = 0;

  // Calls `on_event` for every event with a number above `after_event`, until the stream ends (OK),
  // breaks (UNAVAILABLE) or `stop` is requested (CANCELLED).
  virtual absl::Status Watch(const std::string& id, uint64_t after_event,
                             const std::function<void(const v1::JobEvent&)>& on_event,
                             std::stop_token stop) = 0;

  // Waits until the connection is there: false when it is not within `timeout` or `stop` came.
  virtual bool WaitForConnection(std::chrono::milliseconds timeout, std::stop_token stop) = 0;

  virtual const std::string& address() const = 0;
};

}  // namespace espalier

#endif  // ESPALIER_CLIENT_JOB_CLIENT_H_
