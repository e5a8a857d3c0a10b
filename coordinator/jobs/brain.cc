#include "coordinator/jobs/brain.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace espalier {
namespace {

constexpr int kLifeBits = 32;

// Same place, however it is spelled; symbolic links are not followed.
bool SamePath(const std::string& a, const std::string& b) {
  return std::filesystem::path(a).lexically_normal() == std::filesystem::path(b).lexically_normal();
}

}  // namespace

Brain::Brain(const BrainOptions& options, const SearchFactory* searches)
    : options_(options),
      searches_(searches),
      workers_(options.life << kLifeBits),
      last_task_(options.life << kLifeBits) {}

void Brain::RestoreFinished(const JobView& view, const std::string& idempotency_key) {
  last_job_ = std::max(last_job_, view.id);
  if (!idempotency_key.empty()) submissions_[idempotency_key] = view.id;
  finished_.emplace(view.id, view);
}

void Brain::Restore(StoredJob job, TimeMs now, Actions* actions) {
  const Step step{.now = now, .actions = actions};
  last_job_ = std::max(last_job_, job.id);
  if (!job.idempotency_key.empty()) submissions_[job.idempotency_key] = job.id;
  auto machine =
      std::make_unique<JobMachine>(job.id, std::make_shared<const JobSpec>(std::move(job.spec)),
                                   job.created, options_.most_failures, searches_);
  const JobId id = job.id;
  machine->Resume(step, std::move(job));
  active_[id] = std::move(machine);
}

void Brain::Handle(const Event& event, TimeMs now, Actions* actions) {
  const Step step{.now = now, .actions = actions};
  std::visit([&](const auto& e) { On(e, step); }, event);
  Settle(step);
}

void Brain::Settle(const Step& step) {
  Retire(step);
  Dispatch(step);
  UpdateWaiting(step);
}

// ---- Clients ----

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
  active_[id] =
      std::make_unique<JobMachine>(id, shared_spec, now, options_.most_failures, searches_);
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

std::vector<JobView> Brain::Jobs() const {
  std::vector<JobView> views;
  for (const auto& [id, view] : finished_) views.push_back(view);
  for (const auto& [id, job] : active_) views.push_back(job->view());
  std::sort(views.begin(), views.end(),
            [](const JobView& a, const JobView& b) { return a.id < b.id; });
  return views;
}

absl::Status Brain::CheckUpload(JobId job, TaskId task, uint64_t epoch) const {
  const auto it = assignments_.find(task);
  if (it != assignments_.end() && it->second.job == job &&
      std::holds_alternative<ExportWork>(it->second.item.work)) {
    const AttachedWorker* worker = workers_.Find(it->second.worker);
    if (worker != nullptr && worker->epoch == epoch) return absl::OkStatus();
  }
  return absl::AbortedError(absl::StrCat("task ", task, " of job-", job, " under epoch ", epoch,
                                         " is not an export in progress; stop this upload"));
}

absl::Status Brain::UploadCame(JobId job, TaskId task, uint64_t epoch, TimeMs now) {
  ESPALIER_RETURN_IF_ERROR(CheckUpload(job, task, epoch));
  workers_.Find(assignments_.at(task).worker)->last_heard = now;
  return absl::OkStatus();
}

// ---- Workers ----

void Brain::On(const WorkerAttached& event, const Step& step) {
  if (event.info.version != options_.version) {
    step.actions->push_back(CloseWorker{
        .worker = event.worker,
        .status = absl::FailedPreconditionError(absl::StrCat(
            "the worker is version ", event.info.version, ", the coordinator is version ",
            options_.version, "; install the same version on both"))});
    return;
  }
  const AttachedWorker& worker = workers_.Attach(event.worker, event.info, step.now);
  step.actions->push_back(
      SendWelcome{.worker = event.worker, .number = worker.number, .epoch = worker.epoch});
}

void Brain::On(const WorkerLost& event, const Step& step) {
  RemoveWorker(step, event.worker, event.reason, /*blame=*/true);
}

void Brain::On(const WorkerLeft& event, const Step& step) {
  RemoveWorker(step, event.worker, event.reason, /*blame=*/false);
}

void Brain::On(const WorkerHeartbeat& event, const Step& step) {
  AttachedWorker* worker = workers_.Find(event.worker);
  if (worker == nullptr) return;
  worker->last_heard = step.now;
  worker->reported_task = event.task;
  worker->reported_progress = std::clamp(event.progress, 0.0, 1.0);
  worker->activity = event.activity;
}

void Brain::On(const TaskFinished& event, const Step& step) {
  AttachedWorker* worker = workers_.Find(event.worker);
  if (worker == nullptr) return;  // its lease is over: what it says counts no more
  worker->last_heard = step.now;
  const auto it = assignments_.find(event.task);
  const bool current = it != assignments_.end() && it->second.worker == worker->key;
  if (current && event.epoch != worker->epoch) return;  // an answer from another life
  if (current && absl::IsCancelled(event.status)) {
    // Nobody cancelled it here: the worker is on its way out and hands back what it has.
    RemoveWorker(step, event.worker, "it handed its tasks back", /*blame=*/false);
    step.actions->push_back(CloseWorker{
        .worker = event.worker,
        .status = absl::AbortedError("this worker handed back its tasks; attach again")});
    return;
  }
  if (current) {
    Assignment assignment = std::move(it->second);
    assignments_.erase(it);
    workers_.Unassign(*worker, event.task);
    TakeAnswer(step, *worker, std::move(assignment), event);
  }
  // Also for what came twice or was cancelled meanwhile: the worker need not keep it.
  step.actions->push_back(SendAck{.worker = worker->key, .task = event.task});
}

void Brain::TakeAnswer(const Step& step, AttachedWorker& worker, Assignment assignment,
                       const TaskFinished& event) {
  JobMachine* job = FindActive(assignment.job);
  if (job == nullptr || job->finished()) return;
  const bool load = std::holds_alternative<LoadWork>(assignment.item.work);
  if (load) {
    return job->LoadAnswered(step, worker.key, worker.Label(), event.status, event.outcome);
  }
  if (!event.status.ok()) {
    return job->Failed(step, std::move(assignment.item), worker.key,
                       absl::StrCat(worker.Label(), ": ", event.status.message()));
  }
  ++worker.tasks_done;
  job->Done(step, std::move(assignment.item), worker.key, event.task, event.outcome, event.seconds);
}

void Brain::On(const Tick&, const Step& step) {
  for (const WorkerKey key : workers_.Expired(step.now, options_.lease)) {
    const std::string reason =
        absl::StrCat("nothing was heard of it for ", options_.lease, " ms: its lease is over");
    RemoveWorker(step, key, reason, /*blame=*/true);
    step.actions->push_back(CloseWorker{.worker = key,
                                        .status = absl::AbortedError(absl::StrCat(
                                            "nothing was heard of this worker for ", options_.lease,
                                            " ms, its tasks were given to others; attach again"))});
  }
  PublishProgress(step);
}

void Brain::RemoveWorker(const Step& step, WorkerKey key, const std::string& reason, bool blame) {
  AttachedWorker* worker = workers_.Find(key);
  if (worker == nullptr) return;
  // It works on them in order, so only the first can be what it died of. From the back, so that the
  // queue ends up in the old order.
  const std::deque<TaskId> window = worker->window;
  for (auto task = window.rbegin(); task != window.rend(); ++task) {
    const auto it = assignments_.find(*task);
    Assignment assignment = std::move(it->second);
    assignments_.erase(it);
    const bool first = *task == window.front();
    ReturnAssignment(step, *worker, std::move(assignment), blame && first ? reason : "");
  }
  for (const auto& [id, job] : active_) {
    if (job->holders().state(key) == ModelHolders::State::kReady) {
      job->reporter().Message(
          step, absl::StrCat(worker->Label(), blame ? " was lost: " : " left: ", reason));
    }
    job->WorkerGone(key);
  }
  workers_.Remove(key);
}

void Brain::ReturnAssignment(const Step& step, AttachedWorker& worker, Assignment assignment,
                             const std::string& blame) {
  JobMachine* job = FindActive(assignment.job);
  if (job == nullptr || job->finished()) return;
  if (std::holds_alternative<LoadWork>(assignment.item.work)) {
    if (blame.empty()) return job->LoadReturned(worker.key);
    return job->LoadLost(step, worker.key, worker.Label());
  }
  if (blame.empty()) return job->Return(std::move(assignment.item));
  job->Failed(step, std::move(assignment.item), worker.key,
              absl::StrCat(worker.Label(), " was lost while it worked on it"));
}

// ---- Jobs ----

void Brain::On(const JobPrepared& event, const Step& step) {
  JobMachine* job = FindActive(event.job);
  if (job != nullptr) job->Prepared(step, event.prepared);
}

void Brain::On(const OutputDone& event, const Step& step) {
  JobMachine* job = FindActive(event.job);
  if (job != nullptr) job->OutputWritten(step, event.status);
}

JobMachine* Brain::FindActive(JobId job) {
  const auto it = active_.find(job);
  return it == active_.end() ? nullptr : it->second.get();
}

void Brain::Retire(const Step& step) {
  for (auto it = active_.begin(); it != active_.end();) {
    if (!it->second->finished()) {
      ++it;
      continue;
    }
    CancelAssignments(step, it->first);
    step.actions->push_back(ReleaseJob{.job = it->first});
    finished_.emplace(it->first, it->second->view());
    it = active_.erase(it);
  }
  // Nobody is before the oldest one.
  if (!active_.empty()) active_.begin()->second->reporter().Activate(step);
}

void Brain::CancelAssignments(const Step& step, JobId job) {
  for (auto it = assignments_.begin(); it != assignments_.end();) {
    if (it->second.job != job) {
      ++it;
      continue;
    }
    AttachedWorker* worker = workers_.Find(it->second.worker);
    workers_.Unassign(*worker, it->first);
    step.actions->push_back(SendCancel{.worker = worker->key, .task = it->first});
    it = assignments_.erase(it);
  }
}

// ---- Dispatch ----

void Brain::Dispatch(const Step& step) {
  const bool work = std::any_of(active_.begin(), active_.end(),
                                [](const auto& job) { return job.second->WantsWorkers(); });
  if (!work) return;
  // First everybody gets one task, then a second: the last tasks of a generation are spread out.
  for (size_t depth = 0; depth < WorkerRegistry::kWindow; ++depth) {
    for (const WorkerKey key : workers_.WithRoom()) {
      AttachedWorker* worker = workers_.Find(key);
      if (worker->window.size() <= depth) AssignOne(step, *worker);
    }
  }
}

bool Brain::AssignOne(const Step& step, AttachedWorker& worker) {
  const JobMachine* first = nullptr;
  for (const auto& [id, job] : active_) {
    const ModelHolders::State state = job->holders().state(worker.key);
    if (state == ModelHolders::State::kRefused) continue;
    if (first == nullptr) first = job.get();
    // Younger jobs fill the gaps of the oldest, but never make a worker change its model for them.
    const ModelRef model = job->model();
    if (model.path != first->model().path || model.precision != first->model().precision) continue;
    // While a worker loads for an older job it has no gap.
    if (state == ModelHolders::State::kLoading) return false;
    if (state == ModelHolders::State::kReady) {
      if (std::optional<WorkItem> item = job->Take(worker.key)) {
        Assign(step, worker, *job, *std::move(item));
        return true;
      }
    } else if (job->WantsWorkers()) {
      Assign(step, worker, *job, job->StartLoad(step, worker.key));
      return true;
    }
  }
  return false;
}

void Brain::Assign(const Step& step, AttachedWorker& worker, JobMachine& job, WorkItem item) {
  const JobId id = job.view().id;
  const TaskId task = ++last_task_;
  job.reporter().Activate(step);
  SendDataSets(step, worker, id, item.work);
  step.actions->push_back(SendTask{.worker = worker.key,
                                   .task = task,
                                   .epoch = worker.epoch,
                                   .job = id,
                                   .model = job.model(),
                                   .work = item.work});
  workers_.Assign(worker, task);
  assignments_.emplace(task, Assignment{.job = id, .worker = worker.key, .item = std::move(item)});
}

void Brain::SendDataSets(const Step& step, AttachedWorker& worker, JobId job, const Work& work) {
  std::vector<std::string> hashes;
  if (const auto* calibrate = std::get_if<CalibrateWork>(&work)) hashes = {calibrate->data_set};
  if (const auto* evaluate = std::get_if<EvaluateWork>(&work)) {
    hashes = {evaluate->data_set, evaluate->calibration};
  }
  if (const auto* reform = std::get_if<ReformWork>(&work)) hashes = {reform->calibration};
  if (const auto* exported = std::get_if<ExportWork>(&work)) hashes = {exported->calibration};
  for (const std::string& hash : hashes) {
    if (hash.empty() || !worker.data_sets.insert(hash).second) continue;
    step.actions->push_back(SendDataSet{.worker = worker.key, .job = job, .hash = hash});
  }
}

// ---- What people see ----

void Brain::UpdateWaiting(const Step& step) {
  for (const auto& [id, job] : active_) {
    std::string waiting_for;
    if (job->view().state == JobState::kQueued) {
      waiting_for = absl::StrCat("job-", active_.begin()->first, " to end");
    } else if (job->WantsWorkers() && workers_.size() == 0) {
      waiting_for = "a worker to attach";
    } else if (job->WantsWorkers() &&
               job->holders().Count(ModelHolders::State::kRefused) >= workers_.size()) {
      waiting_for = "a worker that has this job's model";
    }
    job->reporter().SetWaiting(step, waiting_for);
  }
}

void Brain::PublishProgress(const Step& step) {
  for (const auto& [id, job] : active_) {
    if (!job->reporter().MayPublishProgress(step.now)) continue;
    job->reporter().PublishProgress(step, InFlight(id, job->view().progress.phase));
  }
}

double Brain::InFlight(JobId job, JobPhase phase) const {
  double sum = 0;
  double most = 0;
  for (const auto& [task, assignment] : assignments_) {
    if (assignment.job != job) continue;
    const AttachedWorker* worker = workers_.Find(assignment.worker);
    if (worker->reported_task != task) continue;
    const double units = worker->reported_progress * static_cast<double>(assignment.item.units);
    sum += units;
    most = std::max(most, units);
  }
  return phase == JobPhase::kLoad ? most : sum;  // one loaded model is enough to go on
}

}  // namespace espalier
