#include "worker/service/artifact_upload.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/grpc_status.h"
#include "common/sha256.h"
#include "common/status_macros.h"

namespace espalier {
namespace {

class Upload : public ArtifactWriter {
 public:
  Upload(v1::WorkerService::StubInterface* stub, const v1::Task& task, std::string_view name,
         TaskControl* control)
      : name_(name),
        stream_(stub->UploadArtifact(&context_, &receipt_)),
        interruptible_(control, [this] { context_.TryCancel(); }) {
    chunk_.set_job_id(task.job_id());
    chunk_.set_task_id(task.id());
    chunk_.set_epoch(task.epoch());
    chunk_.set_name(name_);
    chunk_.set_first_layer(task.model().first_layer());
  }
  ~Upload() override {
    if (finished_) return;
    context_.TryCancel();
    stream_->Finish();
  }

  absl::Status Append(std::string_view bytes) override {
    hash_.Update(bytes);
    while (!bytes.empty()) {
      // A full chunk goes only when more comes, so that the last one can be marked.
      if (chunk_.data().size() == kArtifactChunkBytes) ESPALIER_RETURN_IF_ERROR(Send());
      const size_t room = kArtifactChunkBytes - chunk_.data().size();
      chunk_.mutable_data()->append(bytes.substr(0, room));
      bytes.remove_prefix(std::min(room, bytes.size()));
    }
    return absl::OkStatus();
  }

  absl::Status Close() override {
    chunk_.set_last(true);
    chunk_.set_sha256(hash_.HexDigest());
    ESPALIER_RETURN_IF_ERROR(Send());
    stream_->WritesDone();
    ESPALIER_RETURN_IF_ERROR(Finish());
    if (receipt_.bytes() != offset_) {
      return absl::DataLossError(absl::StrCat("upload of ", name_, ": the coordinator received ",
                                              receipt_.bytes(), " of ", offset_, " bytes"));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Send() {
    chunk_.set_offset(offset_);
    if (!stream_->Write(chunk_)) {
      const absl::Status status = Finish();
      // The receiver may refuse a file before its end, but must not accept it.
      return status.ok() ? absl::DataLossError(absl::StrCat(
                               "upload of ", name_, ": the coordinator stopped at byte ", offset_))
                         : status;
    }
    offset_ += static_cast<int64_t>(chunk_.data().size());
    chunk_.clear_name();
    chunk_.clear_data();
    return absl::OkStatus();
  }

  absl::Status Finish() {
    finished_ = true;
    absl::Status status = FromGrpcStatus(stream_->Finish());
    if (status.ok()) return status;
    return absl::Status(status.code(), absl::StrCat("upload of ", name_, ": ", status.message()));
  }

  const std::string name_;
  grpc::ClientContext context_;
  v1::ArtifactReceipt receipt_;
  const std::unique_ptr<grpc::ClientWriterInterface<v1::ArtifactChunk>> stream_;
  v1::ArtifactChunk chunk_;  // the next to go
  Sha256 hash_;
  int64_t offset_ = 0;
  bool finished_ = false;
  const TaskControl::Interruptible interruptible_;  // last: must go before the context
};

}  // namespace

absl::StatusOr<std::unique_ptr<ArtifactWriter>> ArtifactUploader::Create(const v1::Task& task,
                                                                         std::string_view name,
                                                                         TaskControl* control) {
  return std::make_unique<Upload>(stub_, task, name, control);
}

}  // namespace espalier
