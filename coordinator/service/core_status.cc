// What the core shows to the status endpoint.
#include "common/status_macros.h"
#include "coordinator/service/core.h"

namespace espalier {

StatusSnapshot CoordinatorCore::Look() const {
  const std::string trouble = committer_ == nullptr ? "" : committer_->trouble();
  WantedMutexLock lock(&mutex_);
  return {.change = activity_.change(),
          .ready = !stopping_ && trouble.empty(),
          .trouble = trouble,
          .start_unix_ms = start_unix_ms_,
          .now = Now(),
          .jobs = brain_.Jobs(kMostJobRows),
          .job_counts = brain_.CountJobs(),
          .workers = brain_.Workers(),
          .totals = activity_.totals()};
}

absl::StatusOr<JobDetail> CoordinatorCore::LookAt(JobId job) const {
  ESPALIER_RETURN_IF_ERROR(LoadEvents(job));
  WantedMutexLock lock(&mutex_);
  JobDetail detail;
  ESPALIER_ASSIGN_OR_RETURN(detail.job, brain_.Job(job));
  detail.start_unix_ms = start_unix_ms_;
  detail.history = logs_.History(job);
  detail.messages = logs_.Messages(job);
  return detail;
}

uint64_t CoordinatorCore::WaitForChange(uint64_t seen,
                                        std::chrono::steady_clock::time_point deadline) const {
  WantedMutexLock lock(&mutex_);
  while (activity_.change() == seen) {
    if (!activity_changed_.WaitUntil(&mutex_, deadline)) break;
  }
  return activity_.change();
}

}  // namespace espalier
