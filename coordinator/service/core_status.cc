// What the core shows to the status endpoint.
#include "common/status_macros.h"
#include "coordinator/service/core.h"
#include "coordinator/service/messages.h"

namespace espalier {
namespace {

JobEventView EventView(const v1::JobEvent& event) {
  const ProgressView progress = ProgressFromMessage(event.progress());
  return {.unix_ms = event.unix_ms(),
          .phase = progress.phase,
          .done = progress.done,
          .generation = progress.generation,
          .best_perplexity = progress.best_perplexity,
          .ratio = progress.ratio,
          .message = event.message()};
}

}  // namespace

StatusSnapshot CoordinatorCore::Look() const {
  const std::string trouble = committer_ == nullptr ? "" : committer_->trouble();
  MutexLock lock(&mutex_);
  return {.change = activity_.change(),
          .ready = !stopping_ && trouble.empty(),
          .trouble = trouble,
          .start_unix_ms = start_unix_ms_,
          .now = Now(),
          .jobs = brain_.Jobs(),
          .workers = brain_.Workers(),
          .totals = activity_.totals()};
}

absl::StatusOr<JobDetail> CoordinatorCore::LookAt(JobId job) const {
  ESPALIER_RETURN_IF_ERROR(LoadEvents(job));
  JobDetail detail;
  std::vector<std::shared_ptr<const v1::JobEvent>> events;
  {
    MutexLock lock(&mutex_);
    ESPALIER_ASSIGN_OR_RETURN(detail.job, brain_.Job(job));
    detail.start_unix_ms = start_unix_ms_;
    events = logs_.Events(job);
  }
  detail.events.reserve(events.size());
  for (const auto& event : events) detail.events.push_back(EventView(*event));
  return detail;
}

uint64_t CoordinatorCore::WaitForChange(uint64_t seen,
                                        std::chrono::steady_clock::time_point deadline) const {
  MutexLock lock(&mutex_);
  while (activity_.change() == seen) {
    if (!activity_changed_.WaitUntil(&mutex_, deadline)) break;
  }
  return activity_.change();
}

}  // namespace espalier
