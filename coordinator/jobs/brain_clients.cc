// What clients ask of the brain, and uploads.
#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "coordinator/jobs/brain.h"

namespace espalier {
namespace {

// Same place, however it is spelled; symbolic links are not followed.
bool SamePath(const std::string& a, const std::string& b) {
  return std::filesystem::path(a).lexically_normal() == std::filesystem::path(b).lexically_normal();
}

// Its events are silent then, and so would be this one.
absl::Status BeingTakenUp(JobId job) {
  return absl::UnavailableError(
      absl::StrCat("job-", job, " is being taken up again after a restart; try again in a moment"));
}

}  // namespace

absl::StatusOr<JobId> Brain::Submit(const JobSpec& spec, const std::string& idempotency_key,
                                    TimeMs now, Actions* actions) {
  if (const std::optional<JobId> earlier = FindSubmission(idempotency_key)) return *earlier;
  for (const auto& [id, job] : active_) {
    if (!SamePath(job->view().spec->output, spec.output)) continue;
    return absl::AlreadyExistsError(absl::StrCat("output: job-", id, " already writes to ",
                                                 spec.output, "; choose another folder"));
  }
  const Step step{.now = now, .actions = actions};
  const JobId id = ++last_job_;
  if (!idempotency_key.empty()) submissions_[idempotency_key] = id;
  const auto shared_spec = std::make_shared<const JobSpec>(spec);
  actions->push_back(RecordJob{
      .job = id, .spec = shared_spec, .idempotency_key = idempotency_key, .created = now});
  active_[id] = std::make_unique<JobMachine>(id, shared_spec, now, surroundings_);
  active_[id]->Start(step);
  Settle(step);
  return id;
}

std::optional<JobId> Brain::FindSubmission(const std::string& idempotency_key) const {
  const auto it = submissions_.find(idempotency_key);
  if (it == submissions_.end()) return std::nullopt;
  return it->second;
}

absl::Status Brain::Cancel(JobId job, const std::string& reason, TimeMs now, Actions* actions) {
  const Step step{.now = now, .actions = actions};
  JobMachine* machine = FindActive(job);
  if (machine == nullptr) return Job(job).status();
  machine->Cancel(step, reason);
  Settle(step);
  return absl::OkStatus();
}

absl::Status Brain::Pause(JobId job, TimeMs now, Actions* actions) {
  const Step step{.now = now, .actions = actions};
  JobMachine* machine = FindActive(job);
  if (machine == nullptr) return Finished(job, "paused");
  if (machine->Replaying()) return BeingTakenUp(job);
  machine->Pause(step);
  shares_.Rest(job);
  Settle(step);
  return absl::OkStatus();
}

absl::Status Brain::Resume(JobId job, TimeMs now, Actions* actions) {
  const Step step{.now = now, .actions = actions};
  JobMachine* machine = FindActive(job);
  if (machine == nullptr) return Finished(job, "resumed");
  if (machine->Replaying()) return BeingTakenUp(job);
  machine->Unpause(step);
  if (machine->TakesPart()) EnterShares(*machine);
  Settle(step);
  return absl::OkStatus();
}

// NOT_FOUND, or FAILED_PRECONDITION because the job is over.
absl::Status Brain::Finished(JobId job, const std::string& what) const {
  ESPALIER_RETURN_IF_ERROR(Job(job).status());
  return absl::FailedPreconditionError(
      absl::StrCat("job-", job, " has ended; it cannot be ", what));
}

absl::Status Brain::Delete(JobId job, Actions* actions) {
  if (FindActive(job) != nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("job-", job, " has not ended; cancel it first"));
  }
  ESPALIER_ASSIGN_OR_RETURN(const JobView view, Job(job));
  finished_.erase(job);
  --finished_counts_[view.state];
  std::erase_if(submissions_, [job](const auto& submission) { return submission.second == job; });
  actions->push_back(ForgetJob{.job = job});
  return absl::OkStatus();
}

absl::Status Brain::Drain(uint64_t number, TimeMs now, Actions* actions) {
  AttachedWorker* worker = workers_.FindNumber(number);
  if (worker == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("there is no worker-", number, "; `espalier workers` lists those attached"));
  }
  workers_.Drain(*worker);
  reallot_ = true;
  Settle({.now = now, .actions = actions});
  return absl::OkStatus();
}

void Brain::CancelAll(const std::string& reason, TimeMs now, Actions* actions) {
  const Step step{.now = now, .actions = actions};
  for (const auto& [id, machine] : active_) machine->Cancel(step, reason);
  Settle(step);
}

absl::StatusOr<JobView> Brain::Job(JobId job) const {
  const auto active = active_.find(job);
  if (active != active_.end()) return active->second->view();
  const auto finished = finished_.find(job);
  if (finished != finished_.end()) return finished->second;
  return absl::NotFoundError(
      absl::StrCat("there is no job-", job, "; ",
                   last_job_ == 0 ? std::string("no job was submitted yet")
                                  : absl::StrCat("jobs go from job-1 to job-", last_job_)));
}

std::vector<JobView> Brain::Jobs(size_t most) const {
  const size_t room = most > active_.size() ? most - active_.size() : 0;
  std::vector<JobView> views;
  for (auto it = finished_.rbegin(); it != finished_.rend() && views.size() < room; ++it) {
    views.push_back(it->second);
  }
  for (const auto& [id, job] : active_) views.push_back(job->view());
  std::sort(views.begin(), views.end(),
            [](const JobView& a, const JobView& b) { return a.id < b.id; });
  return views;
}

JobCounts Brain::CountJobs() const {
  JobCounts counts = finished_counts_;
  for (const auto& [id, job] : active_) ++counts[job->view().state];
  return counts;
}

absl::Status Brain::CheckUpload(JobId job, TaskId task, uint64_t epoch) const {
  const auto it = assignments_.find(task);
  if (it != assignments_.end() && it->second.job == job && it->second.replica == epoch &&
      std::holds_alternative<ExportWork>(it->second.item.work)) {
    return absl::OkStatus();
  }
  return absl::AbortedError(absl::StrCat("task ", task, " of job-", job, " under epoch ", epoch,
                                         " is not an export in progress; stop this upload"));
}

absl::Status Brain::UploadCame(JobId job, TaskId task, uint64_t epoch, int64_t first_layer,
                               TimeMs now) {
  ESPALIER_RETURN_IF_ERROR(CheckUpload(job, task, epoch));
  const Replica& replica = *replicas_.Find(epoch);
  const std::vector<StageRange>& split = FindActive(job)->split();
  for (size_t stage = 0; stage < replica.workers.size(); ++stage) {
    if (split[stage].first == first_layer) {
      workers_.Find(replica.workers[stage])->last_heard = now;
    }
  }
  return absl::OkStatus();
}

}  // namespace espalier
