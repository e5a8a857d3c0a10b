// JobService over CoordinatorCore: a thin adapter.
#ifndef ESPALIER_COORDINATOR_SERVICE_JOB_SERVICE_H_
#define ESPALIER_COORDINATOR_SERVICE_JOB_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include "coordinator/service/core.h"
#include "coordinator/service/token_gate.h"
#include "espalier/v1/jobs.grpc.pb.h"

namespace espalier {

// WatchJob takes no thread per watcher (callback API); the others are short.
class JobServiceImpl final
    : public v1::JobService::WithCallbackMethod_WatchJob<v1::JobService::Service> {
 public:
  // Both outlive the server.
  JobServiceImpl(CoordinatorCore* core, const TokenGate* gate) : core_(core), gate_(gate) {}

  grpc::Status SubmitJob(grpc::ServerContext* context, const v1::SubmitJobRequest* request,
                         v1::Job* response) override;
  grpc::Status GetJob(grpc::ServerContext* context, const v1::GetJobRequest* request,
                      v1::Job* response) override;
  grpc::Status ListJobs(grpc::ServerContext* context, const v1::ListJobsRequest* request,
                        v1::ListJobsResponse* response) override;
  grpc::ServerWriteReactor<v1::JobEvent>* WatchJob(grpc::CallbackServerContext* context,
                                                   const v1::WatchJobRequest* request) override;
  grpc::Status CancelJob(grpc::ServerContext* context, const v1::CancelJobRequest* request,
                         v1::Job* response) override;
  grpc::Status PauseJob(grpc::ServerContext* context, const v1::PauseJobRequest* request,
                        v1::Job* response) override;
  grpc::Status ResumeJob(grpc::ServerContext* context, const v1::ResumeJobRequest* request,
                         v1::Job* response) override;
  grpc::Status DeleteJob(grpc::ServerContext* context, const v1::DeleteJobRequest* request,
                         v1::DeleteJobResponse* response) override;
  grpc::Status DrainWorker(grpc::ServerContext* context, const v1::DrainWorkerRequest* request,
                           v1::DrainWorkerResponse* response) override;
  grpc::Status ListWorkers(grpc::ServerContext* context, const v1::ListWorkersRequest* request,
                           v1::ListWorkersResponse* response) override;

 private:
  CoordinatorCore* const core_;
  const TokenGate* const gate_;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_SERVICE_JOB_SERVICE_H_
