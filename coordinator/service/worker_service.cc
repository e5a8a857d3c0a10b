#include "coordinator/service/worker_service.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "coordinator/service/messages.h"
#include "coordinator/service/queued_reactor.h"

namespace espalier {
namespace {

using AttachBase = QueuedReactor<grpc::ServerBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage>,
                                 v1::CoordinatorMessage>;

// One Attach stream. Reads come one after another, and OnDone after the last of them, so key_ needs
// no lock.
class AttachReactor final : public AttachBase,
                            public WorkerStream,
                            public std::enable_shared_from_this<AttachReactor> {
 public:
  explicit AttachReactor(CoordinatorCore* core) : core_(core) {}

  void Start() { StartRead(&incoming_); }

  void Send(v1::CoordinatorMessage message) override {
    Enqueue(std::make_shared<const v1::CoordinatorMessage>(std::move(message)));
  }
  void Close(const absl::Status& status) override { End(status); }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) {
      Detach();
      // After a goodbye the core has ended the stream already. gRPC does not say which it was.
      return End(absl::InvalidArgumentError(
          "the stream ended without a goodbye, or brought a message that could not be read"));
    }
    if (key_ != 0) {
      core_->Receive(key_, incoming_);
    } else if (incoming_.has_hello()) {
      key_ = core_->Attach(incoming_.hello(), shared_from_this());
    } else {
      return End(absl::InvalidArgumentError("the first message must be a hello"));
    }
    StartRead(&incoming_);
  }

  void OnDone() override {
    Detach();
    Release();
  }

  void Detach() {
    if (key_ != 0) core_->Detach(std::exchange(key_, 0), "its connection ended");
  }

  CoordinatorCore* const core_;
  v1::WorkerMessage incoming_;
  WorkerKey key_ = 0;  // 0: not attached
};

absl::Status TakeUpload(CoordinatorCore* core, grpc::ServerReader<v1::ArtifactChunk>* reader,
                        v1::ArtifactReceipt* receipt) {
  v1::ArtifactChunk chunk;
  if (!reader->Read(&chunk)) return absl::InvalidArgumentError("an upload without any chunk");
  ESPALIER_ASSIGN_OR_RETURN(const JobId job, ParseJobName(chunk.job_id()));
  const CoordinatorCore::UploadKey key{.job = job,
                                       .task = chunk.task_id(),
                                       .epoch = chunk.epoch(),
                                       .first_layer = chunk.first_layer()};
  const std::string name = chunk.name();
  ESPALIER_ASSIGN_OR_RETURN(const std::unique_ptr<ArtifactFile> file,
                            core->CreateArtifact(key, name));
  do {
    ESPALIER_RETURN_IF_ERROR(core->UploadCame(key));
    ESPALIER_RETURN_IF_ERROR(file->Append(chunk.offset(), chunk.data()));
    if (chunk.last()) {
      receipt->set_bytes(file->size());
      return file->Close(chunk.sha256());
    }
  } while (reader->Read(&chunk));
  return absl::DataLossError(absl::StrCat("the upload of ", name, " ended after ", file->size(),
                                          " bytes, before its end"));
}

}  // namespace

grpc::ServerBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage>* WorkerServiceImpl::Attach(
    grpc::CallbackServerContext* context) {
  const auto reactor = std::make_shared<AttachReactor>(core_);
  reactor->KeepAlive(reactor);
  if (const absl::Status allowed = gate_->Check(*context); allowed.ok()) {
    reactor->Start();
  } else {
    reactor->Close(allowed);
  }
  return reactor.get();
}

grpc::Status WorkerServiceImpl::UploadArtifact(grpc::ServerContext* context,
                                               grpc::ServerReader<v1::ArtifactChunk>* reader,
                                               v1::ArtifactReceipt* receipt) {
  const absl::Status allowed = gate_->Check(*context);
  return ToGrpcStatus(allowed.ok() ? TakeUpload(core_, reader, receipt) : allowed);
}

}  // namespace espalier
