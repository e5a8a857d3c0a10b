// Where an export's files go. The executor knows only this; ArtifactUploader sends them over gRPC.
#ifndef ESPALIER_WORKER_SERVICE_ARTIFACT_SINK_H_
#define ESPALIER_WORKER_SERVICE_ARTIFACT_SINK_H_

#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "espalier/v1/worker.pb.h"
#include "worker/service/task_control.h"

namespace espalier {

// One file, from front to back. Destroyed without Close, it is abandoned. Not thread-safe.
class ArtifactWriter {
 public:
  virtual ~ArtifactWriter() = default;
  virtual absl::Status Append(std::string_view bytes) = 0;
  // OK when the receiver has the whole file with the right content.
  virtual absl::Status Close() = 0;
};

class ArtifactSink {
 public:
  virtual ~ArtifactSink() = default;
  // `name` is relative, e.g. "compact/config.json". `task` says whose file it is. Cancelling
  // `control`, which must outlive the writer, ends a call that waits.
  virtual absl::StatusOr<std::unique_ptr<ArtifactWriter>> Create(const v1::Task& task,
                                                                 std::string_view name,
                                                                 TaskControl* control) = 0;
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_SERVICE_ARTIFACT_SINK_H_
