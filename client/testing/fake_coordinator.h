// A JobService that plays back what a test put into it, on a real gRPC server.
#ifndef ESPALIER_CLIENT_TESTING_FAKE_COORDINATOR_H_
#define ESPALIER_CLIENT_TESTING_FAKE_COORDINATOR_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/mutex.h"
#include "espalier/v1/jobs.grpc.pb.h"

namespace espalier {

// Thread-safe.
class FakeCoordinator final : public v1::JobService::Service {
 public:
  // What one WatchJob call does after it has sent the events above `after_event`.
  using WatchEnd = std::function<grpc::Status(grpc::ServerContext&)>;

  // `address` as CoordinatorOptions::listen.
  explicit FakeCoordinator(const std::string& address = "127.0.0.1:0");
  ~FakeCoordinator() override;

  // To dial, with the real port.
  const std::string& address() const { return address_; }

  void SetJob(v1::Job job);
  void AddEvent(v1::JobEvent event);
  // One for every call of WatchJob; OK after the last.
  void AddWatchEnd(WatchEnd end);
  // Calls other than WatchJob return this from now on.
  void SetStatus(grpc::Status status);

  std::vector<uint64_t> watched_after() const;  // `after_event` of every WatchJob
  std::vector<v1::SubmitJobRequest> submitted() const;
  std::vector<std::string> cancelled() const;
  std::vector<std::string> changes() const;  // "pause job-1", "drain worker-1", …

 private:
  grpc::Status SubmitJob(grpc::ServerContext*, const v1::SubmitJobRequest* request,
                         v1::Job* response) override;
  grpc::Status GetJob(grpc::ServerContext*, const v1::GetJobRequest* request,
                      v1::Job* response) override;
  grpc::Status ListJobs(grpc::ServerContext*, const v1::ListJobsRequest*,
                        v1::ListJobsResponse* response) override;
  grpc::Status WatchJob(grpc::ServerContext* context, const v1::WatchJobRequest* request,
                        grpc::ServerWriter<v1::JobEvent>* writer) override;
  grpc::Status CancelJob(grpc::ServerContext*, const v1::CancelJobRequest* request,
                         v1::Job* response) override;
  grpc::Status PauseJob(grpc::ServerContext*, const v1::PauseJobRequest* request,
                        v1::Job* response) override;
  grpc::Status ResumeJob(grpc::ServerContext*, const v1::ResumeJobRequest* request,
                         v1::Job* response) override;
  grpc::Status DeleteJob(grpc::ServerContext*, const v1::DeleteJobRequest* request,
                         v1::DeleteJobResponse*) override;
  grpc::Status DrainWorker(grpc::ServerContext*, const v1::DrainWorkerRequest* request,
                           v1::DrainWorkerResponse*) override;
  grpc::Status ListWorkers(grpc::ServerContext*, const v1::ListWorkersRequest*,
                           v1::ListWorkersResponse* response) override;

  mutable Mutex mutex_;
  v1::Job job_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::JobEvent> events_ ABSL_GUARDED_BY(mutex_);
  std::vector<WatchEnd> watch_ends_ ABSL_GUARDED_BY(mutex_);
  grpc::Status status_ ABSL_GUARDED_BY(mutex_);
  std::vector<uint64_t> watched_after_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::SubmitJobRequest> submitted_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> cancelled_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> changes_ ABSL_GUARDED_BY(mutex_);
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace espalier

#endif  // ESPALIER_CLIENT_TESTING_FAKE_COORDINATOR_H_
