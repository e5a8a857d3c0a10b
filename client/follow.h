// Follows a job to its end, over lost connections.
#ifndef ESPALIER_CLIENT_FOLLOW_H_
#define ESPALIER_CLIENT_FOLLOW_H_

#include <chrono>
#include <functional>
#include <stop_token>
#include <string>

#include "absl/status/statusor.h"
#include "client/job_client.h"
#include "client/progress_reporter.h"
#include "espalier/v1/jobs.pb.h"

namespace espalier {

struct FollowOptions {
  // How long to try again after a lost connection; then UNAVAILABLE.
  std::chrono::milliseconds reconnect_timeout{60000};
  // Called for every event, each once and in order.
  std::function<void(const v1::JobEvent&)> on_event = [](const v1::JobEvent&) {};
};

// Shows the job's events and returns the finished job, whatever its end. A broken stream is resumed
// after the last event seen. CANCELLED when `stop` is requested: the job itself goes on.
absl::StatusOr<v1::Job> FollowJob(JobClient& client, const std::string& id,
                                  ProgressReporter& reporter, const FollowOptions& options,
                                  const std::stop_token& stop);

// OK for a job that succeeded, otherwise why it has no result.
absl::Status JobOutcome(const v1::Job& job);

}  // namespace espalier

#endif  // ESPALIER_CLIENT_FOLLOW_H_
