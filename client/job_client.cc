#include "client/job_client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/grpc_credentials.h"
#include "common/grpc_status.h"
#include "common/status_macros.h"
#include "espalier/v1/jobs.grpc.pb.h"

namespace espalier {
namespace {

using std::chrono::milliseconds;
using std::chrono::system_clock;

// In short steps: the wait itself cannot be interrupted.
constexpr milliseconds kStep{200};

std::shared_ptr<grpc::Channel> MakeJobChannel(const JobClientOptions& options) {
  grpc::ChannelArguments arguments;
  // A proxy for the web is no way to a coordinator.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // After a restart of the coordinator a watcher should not wait minutes for the next attempt.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  SetKeepalive(options.keepalive, &arguments);
  return MakeChannel(options.address, options.security, arguments);
}

class GrpcJobClient final : public JobClient {
 public:
  explicit GrpcJobClient(JobClientOptions options)
      : options_(std::move(options)),
        channel_(MakeJobChannel(options_)),
        stub_(v1::JobService::NewStub(channel_)) {}

  absl::StatusOr<v1::Job> Submit(const std::string& spec_yaml,
                                 const std::string& idempotency_key) override {
    v1::SubmitJobRequest request;
    request.set_spec_yaml(spec_yaml);
    request.set_idempotency_key(idempotency_key);
    return Call<v1::Job>(&v1::JobService::Stub::SubmitJob, request);
  }

  absl::StatusOr<v1::Job> Get(const std::string& id) override {
    v1::GetJobRequest request;
    request.set_id(id);
    return Call<v1::Job>(&v1::JobService::Stub::GetJob, request);
  }

  absl::StatusOr<v1::ListJobsResponse> List() override {
    return Call<v1::ListJobsResponse>(&v1::JobService::Stub::ListJobs, v1::ListJobsRequest());
  }

  absl::StatusOr<v1::Job> Cancel(const std::string& id) override {
    v1::CancelJobRequest request;
    request.set_id(id);
    return Call<v1::Job>(&v1::JobService::Stub::CancelJob, request);
  }

  absl::StatusOr<v1::Job> Pause(const std::string& id) override {
    v1::PauseJobRequest request;
    request.set_id(id);
    return Call<v1::Job>(&v1::JobService::Stub::PauseJob, request);
  }

  absl::StatusOr<v1::Job> Resume(const std::string& id) override {
    v1::ResumeJobRequest request;
    request.set_id(id);
    return Call<v1::Job>(&v1::JobService::Stub::ResumeJob, request);
  }

  absl::Status Delete(const std::string& id) override {
    v1::DeleteJobRequest request;
    request.set_id(id);
    return Call<v1::DeleteJobResponse>(&v1::JobService::Stub::DeleteJob, request).status();
  }

  absl::Status Drain(const std::string& worker) override {
    v1::DrainWorkerRequest request;
    request.set_id(worker);
    return Call<v1::DrainWorkerResponse>(&v1::JobService::Stub::DrainWorker, request).status();
  }

  absl::StatusOr<v1::ListWorkersResponse> Workers() override {
    return Call<v1::ListWorkersResponse>(&v1::JobService::Stub::ListWorkers,
                                         v1::ListWorkersRequest());
  }

  absl::Status Watch(const std::string& id, uint64_t after_event,
                     const std::function<void(const v1::JobEvent&)>& on_event,
                     std::stop_token stop) override {
    grpc::ClientContext context;
    v1::WatchJobRequest request;
    request.set_id(id);
    request.set_after_event(after_event);
    const auto stream = stub_->WatchJob(&context, request);
    {
      std::stop_callback cancel(std::move(stop), [&context] { context.TryCancel(); });
      v1::JobEvent event;
      while (stream->Read(&event)) on_event(event);
    }
    return Named(FromGrpcStatus(stream->Finish()));
  }

  bool WaitForConnection(milliseconds timeout, std::stop_token stop) override {
    const auto deadline = system_clock::now() + timeout;
    while (!stop.stop_requested() && system_clock::now() < deadline) {
      if (channel_->WaitForConnected(std::min(deadline, system_clock::now() + kStep))) return true;
    }
    return false;
  }

  // As WaitForConnection; UNAUTHENTICATED when waiting longer is useless.
  absl::Status FirstConnection() {
    const auto deadline = system_clock::now() + options_.connect_timeout;
    ConnectionDoctor doctor(options_.address, options_.security);
    while (system_clock::now() < deadline) {
      if (WaitForConnection(kStep, {})) return absl::OkStatus();
      ESPALIER_RETURN_IF_ERROR(doctor.Examine(*channel_));
    }
    return absl::UnavailableError(
        absl::StrCat("no coordinator answers at ", options_.address,
                     "; start one with `espalier-coordinator`, or name its address with "
                     "--coordinator or ESPALIER_COORDINATOR"));
  }

  const std::string& address() const override { return options_.address; }

 private:
  template <typename Response, typename Method, typename Request>
  absl::StatusOr<Response> Call(Method method, const Request& request) {
    grpc::ClientContext context;
    context.set_deadline(system_clock::now() + options_.call_timeout);
    Response response;
    const grpc::Status status = (stub_.get()->*method)(&context, request, &response);
    if (!status.ok()) return Named(FromGrpcStatus(status));
    return response;
  }

  // What gRPC itself reports does not say which address it was.
  absl::Status Named(const absl::Status& status) const {
    if (absl::IsUnavailable(status)) {
      return absl::UnavailableError(absl::StrCat("the connection to the coordinator at ",
                                                 options_.address, " broke: ", status.message()));
    }
    if (absl::IsDeadlineExceeded(status)) {
      return absl::DeadlineExceededError(
          absl::StrCat("the coordinator at ", options_.address, " gave no answer within ",
                       options_.call_timeout.count(), " ms; it may be overloaded: try again"));
    }
    return status;
  }

  const JobClientOptions options_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::JobService::Stub> stub_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<JobClient>> JobClient::Connect(const JobClientOptions& options) {
  auto client = std::make_unique<GrpcJobClient>(options);
  ESPALIER_RETURN_IF_ERROR(client->FirstConnection());
  return client;
}

}  // namespace espalier
