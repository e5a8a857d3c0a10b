#include "coordinator/service/job_service.h"

#include <memory>
#include <utility>

#include "common/grpc_status.h"
#include "coordinator/service/queued_reactor.h"

namespace espalier {
namespace {

using WatchBase = QueuedReactor<grpc::ServerWriteReactor<v1::JobEvent>, v1::JobEvent>;

class WatchReactor final : public WatchBase, public EventSink {
 public:
  explicit WatchReactor(CoordinatorCore* core) : core_(core) {}

  void Offer(std::shared_ptr<const v1::JobEvent> event) override { Enqueue(std::move(event)); }
  void End(const absl::Status& status) override { WatchBase::End(status); }

 private:
  void OnDone() override {
    core_->Forget(this);
    Release();
  }

  CoordinatorCore* const core_;
};

grpc::Status Answer(absl::StatusOr<v1::Job> job, v1::Job* response) {
  if (job.ok()) *response = *std::move(job);
  return ToGrpcStatus(job.status());
}

}  // namespace

grpc::Status JobServiceImpl::SubmitJob(grpc::ServerContext*, const v1::SubmitJobRequest* request,
                                       v1::Job* response) {
  return Answer(core_->Submit(*request), response);
}

grpc::Status JobServiceImpl::GetJob(grpc::ServerContext*, const v1::GetJobRequest* request,
                                    v1::Job* response) {
  return Answer(core_->Get(request->id()), response);
}

grpc::Status JobServiceImpl::ListJobs(grpc::ServerContext*, const v1::ListJobsRequest*,
                                      v1::ListJobsResponse* response) {
  *response = core_->ListJobs();
  return grpc::Status::OK;
}

grpc::ServerWriteReactor<v1::JobEvent>* JobServiceImpl::WatchJob(
    grpc::CallbackServerContext*, const v1::WatchJobRequest* request) {
  const auto reactor = std::make_shared<WatchReactor>(core_);
  reactor->KeepAlive(reactor);
  const absl::Status status = core_->Follow(request->id(), request->after_event(), reactor);
  if (!status.ok()) reactor->End(status);
  return reactor.get();
}

grpc::Status JobServiceImpl::CancelJob(grpc::ServerContext*, const v1::CancelJobRequest* request,
                                       v1::Job* response) {
  return Answer(core_->Cancel(request->id()), response);
}

grpc::Status JobServiceImpl::ListWorkers(grpc::ServerContext*, const v1::ListWorkersRequest*,
                                         v1::ListWorkersResponse* response) {
  *response = core_->ListWorkers();
  return grpc::Status::OK;
}

}  // namespace espalier
