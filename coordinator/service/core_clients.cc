// What clients ask of the core.
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "coordinator/service/core.h"
#include "coordinator/service/messages.h"

namespace espalier {

absl::StatusOr<v1::Job> CoordinatorCore::Submit(const v1::SubmitJobRequest& request) {
  {
    WantedMutexLock lock(&mutex_);
    ESPALIER_RETURN_IF_ERROR(RefuseWhenStopping());
    const std::optional<JobId> earlier = brain_.FindSubmission(request.idempotency_key());
    if (earlier.has_value()) return Message(*earlier);
  }
  ESPALIER_ASSIGN_OR_RETURN(const JobSpec spec,
                            CheckSubmission(request.spec_yaml(), options_.roots));
  absl::StatusOr<std::shared_ptr<ResultFolder>> folder =
      ResultFolder::Create(spec.output, options_.roots.outputs);
  if (!folder.ok()) {
    return absl::Status(folder.status().code(),
                        absl::StrCat("output: ", folder.status().message()));
  }
  JobId job = 0;
  uint64_t ticket = 0;
  {
    WantedMutexLock lock(&mutex_);
    ESPALIER_RETURN_IF_ERROR(RefuseWhenStopping());
    Actions actions;
    ESPALIER_ASSIGN_OR_RETURN(job, brain_.Submit(spec, request.idempotency_key(), Now(), &actions));
    // Without actions it is the job of the same submission, which came in between.
    if (!actions.empty()) jobs_[job].folder = *std::move(folder);
    ticket = Settle(std::move(actions));
  }
  ESPALIER_RETURN_IF_ERROR(AwaitStored(ticket));
  WantedMutexLock lock(&mutex_);
  return Message(job);
}

absl::StatusOr<v1::Job> CoordinatorCore::Get(const std::string& id) const {
  ESPALIER_ASSIGN_OR_RETURN(const JobId job, ParseJobName(id));
  WantedMutexLock lock(&mutex_);
  return Message(job);
}

absl::Status CoordinatorCore::Ask(const Request& request) {
  uint64_t ticket = 0;
  {
    WantedMutexLock lock(&mutex_);
    ESPALIER_RETURN_IF_ERROR(RefuseWhenStopping());
    Actions actions;
    ESPALIER_RETURN_IF_ERROR(request(brain_, Now(), &actions));
    ticket = Settle(std::move(actions));
  }
  return AwaitStored(ticket);
}

absl::StatusOr<v1::Job> CoordinatorCore::AskOf(const std::string& id, const JobRequest& request) {
  ESPALIER_ASSIGN_OR_RETURN(const JobId job, ParseJobName(id));
  ESPALIER_RETURN_IF_ERROR(Ask([&](Brain& brain, TimeMs now, Actions* actions) {
    return request(brain, job, now, actions);
  }));
  WantedMutexLock lock(&mutex_);
  return Message(job);
}

absl::StatusOr<v1::Job> CoordinatorCore::Cancel(const std::string& id) {
  return AskOf(id, [](Brain& brain, JobId job, TimeMs now, Actions* actions) {
    return brain.Cancel(job, "cancelled by a client", now, actions);
  });
}

absl::StatusOr<v1::Job> CoordinatorCore::Pause(const std::string& id) {
  return AskOf(id, [](Brain& brain, JobId job, TimeMs now, Actions* actions) {
    return brain.Pause(job, now, actions);
  });
}

absl::StatusOr<v1::Job> CoordinatorCore::Resume(const std::string& id) {
  return AskOf(id, [](Brain& brain, JobId job, TimeMs now, Actions* actions) {
    return brain.Resume(job, now, actions);
  });
}

absl::StatusOr<v1::DeleteJobResponse> CoordinatorCore::Delete(const std::string& id) {
  ESPALIER_ASSIGN_OR_RETURN(const JobId job, ParseJobName(id));
  ESPALIER_RETURN_IF_ERROR(
      Ask([job](Brain& brain, TimeMs, Actions* actions) { return brain.Delete(job, actions); }));
  return v1::DeleteJobResponse();
}

absl::StatusOr<v1::DrainWorkerResponse> CoordinatorCore::Drain(const std::string& worker) {
  ESPALIER_ASSIGN_OR_RETURN(const uint64_t number, ParseWorkerName(worker));
  ESPALIER_RETURN_IF_ERROR(Ask([number](Brain& brain, TimeMs now, Actions* actions) {
    return brain.Drain(number, now, actions);
  }));
  return v1::DrainWorkerResponse();
}

v1::ListJobsResponse CoordinatorCore::ListJobs() const {
  WantedMutexLock lock(&mutex_);
  v1::ListJobsResponse response;
  for (const JobView& view : brain_.Jobs()) *response.add_jobs() = JobMessage(view, start_unix_ms_);
  return response;
}

v1::ListWorkersResponse CoordinatorCore::ListWorkers() const {
  WantedMutexLock lock(&mutex_);
  v1::ListWorkersResponse response;
  for (const WorkerView& view : brain_.Workers()) *response.add_workers() = WorkerMessage(view);
  return response;
}

absl::Status CoordinatorCore::Follow(const std::string& id, uint64_t after,
                                     std::shared_ptr<EventSink> sink) {
  ESPALIER_ASSIGN_OR_RETURN(const JobId job, ParseJobName(id));
  ESPALIER_RETURN_IF_ERROR(LoadEvents(job));
  WantedMutexLock lock(&mutex_);
  logs_.Follow(job, after, std::move(sink));
  return absl::OkStatus();
}

void CoordinatorCore::Forget(const EventSink* sink) {
  WantedMutexLock lock(&mutex_);
  logs_.Forget(sink);
}

absl::StatusOr<v1::Job> CoordinatorCore::Message(JobId job) const {
  ESPALIER_ASSIGN_OR_RETURN(const JobView view, brain_.Job(job));
  return JobMessage(view, start_unix_ms_);
}

}  // namespace espalier
