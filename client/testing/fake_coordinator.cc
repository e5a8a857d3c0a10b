#include "client/testing/fake_coordinator.h"

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace espalier {

FakeCoordinator::FakeCoordinator(const std::string& address) {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  const bool is_socket = address.rfind("unix:", 0) == 0;
  address_ = is_socket ? address : "127.0.0.1:" + std::to_string(port);
}

// Streams that are still open are cut off: the deadline is now.
FakeCoordinator::~FakeCoordinator() { server_->Shutdown(std::chrono::system_clock::now()); }

void FakeCoordinator::SetJob(v1::Job job) {
  MutexLock lock(&mutex_);
  job_ = std::move(job);
}

void FakeCoordinator::AddEvent(v1::JobEvent event) {
  MutexLock lock(&mutex_);
  events_.push_back(std::move(event));
}

void FakeCoordinator::AddWatchEnd(WatchEnd end) {
  MutexLock lock(&mutex_);
  watch_ends_.push_back(std::move(end));
}

void FakeCoordinator::SetStatus(grpc::Status status) {
  MutexLock lock(&mutex_);
  status_ = std::move(status);
}

std::vector<uint64_t> FakeCoordinator::watched_after() const {
  MutexLock lock(&mutex_);
  return watched_after_;
}

std::vector<v1::SubmitJobRequest> FakeCoordinator::submitted() const {
  MutexLock lock(&mutex_);
  return submitted_;
}

std::vector<std::string> FakeCoordinator::cancelled() const {
  MutexLock lock(&mutex_);
  return cancelled_;
}

grpc::Status FakeCoordinator::SubmitJob(grpc::ServerContext*, const v1::SubmitJobRequest* request,
                                        v1::Job* response) {
  MutexLock lock(&mutex_);
  submitted_.push_back(*request);
  *response = job_;
  return status_;
}

grpc::Status FakeCoordinator::GetJob(grpc::ServerContext*, const v1::GetJobRequest* request,
                                     v1::Job* response) {
  MutexLock lock(&mutex_);
  if (request->id() != job_.id()) {
    return grpc::Status(grpc::StatusCode::NOT_FOUND, "no job " + request->id());
  }
  *response = job_;
  return status_;
}

grpc::Status FakeCoordinator::ListJobs(grpc::ServerContext*, const v1::ListJobsRequest*,
                                       v1::ListJobsResponse* response) {
  MutexLock lock(&mutex_);
  *response->add_jobs() = job_;
  return status_;
}

grpc::Status FakeCoordinator::WatchJob(grpc::ServerContext* context,
                                       const v1::WatchJobRequest* request,
                                       grpc::ServerWriter<v1::JobEvent>* writer) {
  WatchEnd end = [](grpc::ServerContext&) { return grpc::Status::OK; };
  std::vector<v1::JobEvent> events;
  {
    MutexLock lock(&mutex_);
    if (watched_after_.size() < watch_ends_.size()) end = watch_ends_[watched_after_.size()];
    watched_after_.push_back(request->after_event());
    events = events_;
  }
  for (const v1::JobEvent& event : events) {
    if (event.number() > request->after_event()) writer->Write(event);
  }
  return end(*context);
}

grpc::Status FakeCoordinator::CancelJob(grpc::ServerContext*, const v1::CancelJobRequest* request,
                                        v1::Job* response) {
  MutexLock lock(&mutex_);
  cancelled_.push_back(request->id());
  *response = job_;
  return status_;
}

grpc::Status FakeCoordinator::PauseJob(grpc::ServerContext*, const v1::PauseJobRequest* request,
                                       v1::Job* response) {
  MutexLock lock(&mutex_);
  changes_.push_back("pause " + request->id());
  *response = job_;
  return status_;
}

grpc::Status FakeCoordinator::ResumeJob(grpc::ServerContext*, const v1::ResumeJobRequest* request,
                                        v1::Job* response) {
  MutexLock lock(&mutex_);
  changes_.push_back("resume " + request->id());
  *response = job_;
  return status_;
}

grpc::Status FakeCoordinator::DeleteJob(grpc::ServerContext*, const v1::DeleteJobRequest* request,
                                        v1::DeleteJobResponse*) {
  MutexLock lock(&mutex_);
  changes_.push_back("delete " + request->id());
  return status_;
}

grpc::Status FakeCoordinator::DrainWorker(grpc::ServerContext*,
                                          const v1::DrainWorkerRequest* request,
                                          v1::DrainWorkerResponse*) {
  MutexLock lock(&mutex_);
  changes_.push_back("drain " + request->id());
  return status_;
}

std::vector<std::string> FakeCoordinator::changes() const {
  MutexLock lock(&mutex_);
  return changes_;
}

grpc::Status FakeCoordinator::ListWorkers(grpc::ServerContext*, const v1::ListWorkersRequest*,
                                          v1::ListWorkersResponse* response) {
  MutexLock lock(&mutex_);
  response->add_workers()->set_id("worker-1");
  return status_;
}

}  // namespace espalier
