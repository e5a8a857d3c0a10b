// Sends artifacts through WorkerService.UploadArtifact: one call a file, chunks of at most 64 KiB,
// the file's SHA-256 on the last one. gRPC's flow control holds the sender back.
#ifndef ESPALIER_WORKER_SERVICE_ARTIFACT_UPLOAD_H_
#define ESPALIER_WORKER_SERVICE_ARTIFACT_UPLOAD_H_

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "espalier/v1/worker.grpc.pb.h"
#include "worker/service/artifact_sink.h"

namespace espalier {

// Each one that arrives renews this worker's lease, so a slow link must carry one in that time.
inline constexpr size_t kArtifactChunkBytes = size_t{64} << 10;

// Thread-safe.
class ArtifactUploader : public ArtifactSink {
 public:
  // `stub` must outlive this and its writers.
  explicit ArtifactUploader(v1::WorkerService::StubInterface* stub) : stub_(stub) {}

  absl::StatusOr<std::unique_ptr<ArtifactWriter>> Create(const v1::Task& task,
                                                         std::string_view name,
                                                         TaskControl* control) override;

 private:
  v1::WorkerService::StubInterface* const stub_;
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_SERVICE_ARTIFACT_UPLOAD_H_
