#include "coordinator/service/job_service.h"

#include <functional>
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

// What `call` answers, if the caller may have an answer.
template <typename Response>
grpc::Status Answer(const absl::Status& allowed,
                    const std::function<absl::StatusOr<Response>()>& call, Response* response) {
  if (!allowed.ok()) return ToGrpcStatus(allowed);
  absl::StatusOr<Response> answer = call();
  if (!answer.ok()) return ToGrpcStatus(answer.status());
  *response = *std::move(answer);
  return grpc::Status::OK;
}

}  // namespace

grpc::Status JobServiceImpl::SubmitJob(grpc::ServerContext* context,
                                       const v1::SubmitJobRequest* request, v1::Job* response) {
  return Answer<v1::Job>(
      gate_->Check(*context), [&] { return core_->Submit(*request); }, response);
}

grpc::Status JobServiceImpl::GetJob(grpc::ServerContext* context, const v1::GetJobRequest* request,
                                    v1::Job* response) {
  return Answer<v1::Job>(
      gate_->Check(*context), [&] { return core_->Get(request->id()); }, response);
}

grpc::Status JobServiceImpl::ListJobs(grpc::ServerContext* context, const v1::ListJobsRequest*,
                                      v1::ListJobsResponse* response) {
  return Answer<v1::ListJobsResponse>(
      gate_->Check(*context), [&] { return core_->ListJobs(); }, response);
}

grpc::ServerWriteReactor<v1::JobEvent>* JobServiceImpl::WatchJob(
    grpc::CallbackServerContext* context, const v1::WatchJobRequest* request) {
  const auto reactor = std::make_shared<WatchReactor>(core_);
  reactor->KeepAlive(reactor);
  absl::Status status = gate_->Check(*context);
  if (status.ok()) status = core_->Follow(request->id(), request->after_event(), reactor);
  if (!status.ok()) reactor->End(status);
  return reactor.get();
}

grpc::Status JobServiceImpl::CancelJob(grpc::ServerContext* context,
                                       const v1::CancelJobRequest* request, v1::Job* response) {
  return Answer<v1::Job>(
      gate_->Check(*context), [&] { return core_->Cancel(request->id()); }, response);
}

grpc::Status JobServiceImpl::PauseJob(grpc::ServerContext* context,
                                      const v1::PauseJobRequest* request, v1::Job* response) {
  return Answer<v1::Job>(
      gate_->Check(*context), [&] { return core_->Pause(request->id()); }, response);
}

grpc::Status JobServiceImpl::ResumeJob(grpc::ServerContext* context,
                                       const v1::ResumeJobRequest* request, v1::Job* response) {
  return Answer<v1::Job>(
      gate_->Check(*context), [&] { return core_->Resume(request->id()); }, response);
}

grpc::Status JobServiceImpl::DeleteJob(grpc::ServerContext* context,
                                       const v1::DeleteJobRequest* request,
                                       v1::DeleteJobResponse* response) {
  return Answer<v1::DeleteJobResponse>(
      gate_->Check(*context), [&] { return core_->Delete(request->id()); }, response);
}

grpc::Status JobServiceImpl::DrainWorker(grpc::ServerContext* context,
                                         const v1::DrainWorkerRequest* request,
                                         v1::DrainWorkerResponse* response) {
  return Answer<v1::DrainWorkerResponse>(
      gate_->Check(*context), [&] { return core_->Drain(request->id()); }, response);
}

grpc::Status JobServiceImpl::ListWorkers(grpc::ServerContext* context,
                                         const v1::ListWorkersRequest*,
                                         v1::ListWorkersResponse* response) {
  return Answer<v1::ListWorkersResponse>(
      gate_->Check(*context), [&] { return core_->ListWorkers(); }, response);
}

}  // namespace espalier
