#include "coordinator/jobs/brain.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/jobs/stage_outcomes.h"

namespace espalier {
namespace {

constexpr int kLifeBits = 32;

// The slowest stage sets the pace.
TaskNotes NotesOf(const std::vector<std::optional<TaskFinished>>& answers) {
  TaskNotes all;
  for (const auto& answer : answers) {
    if (!answer.has_value()) continue;
    const TaskNotes& notes = answer->notes;
    all.seconds = std::max(all.seconds, notes.seconds);
    all.preparation = std::max(all.preparation, notes.preparation);
    all.warnings.insert(all.warnings.end(), notes.warnings.begin(), notes.warnings.end());
  }
  return all;
}

}  // namespace

Brain::Brain(const BrainOptions& options, const SearchFactory* searches)
    : options_(options),
      surroundings_{.most_failures = options.most_failures,
                    .version = options.version,
                    .searches = searches,
                    .answers = &answers_},
      replicas_(options.life << kLifeBits),
      last_task_(options.life << kLifeBits) {}

void Brain::RestoreFinished(const JobView& view, const std::string& idempotency_key) {
  last_job_ = std::max(last_job_, view.id);
  if (!idempotency_key.empty()) submissions_[idempotency_key] = view.id;
  if (finished_.emplace(view.id, view).second) ++finished_counts_[view.state];
}

void Brain::Restore(StoredJob job, TimeMs now, Actions* actions) {
  const Step step{.now = now, .actions = actions};
  last_job_ = std::max(last_job_, job.id);
  if (!job.idempotency_key.empty()) submissions_[job.idempotency_key] = job.id;
  auto machine = std::make_unique<JobMachine>(
      job.id, std::make_shared<const JobSpec>(std::move(job.spec)), job.created, surroundings_);
  const JobId id = job.id;
  machine->Resume(step, std::move(job));
  active_[id] = std::move(machine);
}

void Brain::Handle(const Event& event, TimeMs now, Actions* actions) {
  const Step step{.now = now, .actions = actions};
  std::visit([&](const auto& e) { On(e, step); }, event);
  Settle(step);
}

void Brain::GoOn(TimeMs now, Actions* actions) {
  more_ = false;
  Settle({.now = now, .actions = actions});
}

void Brain::Settle(const Step& step) {
  for (const auto& [id, job] : active_) job->BeginStep();
  // What an earlier step left for GoOn stays there: otherwise every heartbeat would do a part of it
  // first, and those behind it would wait for all of them.
  const bool later = more_;
  if (!later) Replay(step);
  Retire(step);
  Regroup(step);
  if (!later) Dispatch(step);
  Retire(step);  // what known answers have ended
  UpdateWaiting(step);
}

// Of one job at a time, and some of its journal: a long one takes minutes.
void Brain::Replay(const Step& step) {
  for (const auto& [id, job] : active_) {
    if (!job->Replaying()) continue;
    more_ = true;
    return job->Replay(step, static_cast<size_t>(options_.most_a_step));
  }
}

// ---- Workers ----

std::vector<WorkerView> Brain::Workers() const {
  std::vector<WorkerView> views;
  views.reserve(workers_.size());
  for (const auto& [key, worker] : workers_.all()) {
    WorkerView view{.number = worker.number,
                    .info = worker.info,
                    .activity = worker.activity,
                    .progress = worker.reported_progress,
                    .tasks_done = worker.tasks_done,
                    .draining = worker.draining};
    if (const Replica* replica = replicas_.Find(worker.replica)) {
      view.stage = static_cast<int64_t>(replica->StageOf(key).value_or(0));
      view.stages = replica->stages();
    }
    views.push_back(std::move(view));
  }
  return views;
}

void Brain::On(const WorkerAttached& event, const Step& step) {
  if (event.info.version != options_.version) {
    step.actions->push_back(CloseWorker{
        .worker = event.worker,
        .status = absl::FailedPreconditionError(absl::StrCat(
            "the worker is version ", event.info.version, ", the coordinator is version ",
            options_.version, "; install the same version on both"))});
    return;
  }
  AttachedWorker& worker = workers_.Attach(event.worker, event.info, step.now);
  // The welcome carries the epoch of its first replica, in which it is alone.
  worker.replica = replicas_.Form({worker.key}, worker.Label()).key;
  choose_stages_ = true;
  reallot_ = true;
  step.actions->push_back(
      SendWelcome{.worker = event.worker, .number = worker.number, .epoch = worker.replica});
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
  if (Replica* replica = replicas_.Find(worker->replica)) {
    const size_t stage = *replica->StageOf(key);
    for (const auto& [id, job] : active_) {
      if (job->holders().state(replica->key) != ModelHolders::State::kReady) continue;
      job->reporter().Message(
          step, absl::StrCat(worker->Label(), blame ? " was lost: " : " left: ", reason));
    }
    // It works on them in order, so only the first that it has not answered can be what it died of.
    TaskId in_hand = 0;
    for (const TaskId task : replica->window) {
      if (in_hand == 0 && !assignments_.at(task).answers[stage].has_value()) in_hand = task;
    }
    // From the back, so that the queue ends up in the old order.
    while (!replica->window.empty()) {
      const TaskId task = replica->window.back();
      Assignment assignment = Withdraw(step, task, key);
      ReturnAssignment(step, *replica, std::move(assignment),
                       blame && task == in_hand ? worker : nullptr);
    }
    DissolveReplica(*replica);
  }
  for (const auto& [id, job] : active_) job->WorkerGone(key);
  loose_.erase(key);
  workers_.Remove(key);
  reallot_ = true;
}

void Brain::ReturnAssignment(const Step& step, const Replica& replica, Assignment assignment,
                             const AttachedWorker* blamed) {
  JobMachine* job = FindActive(assignment.job);
  if (job == nullptr || job->finished()) return;
  // A load needs no return: the replica is dissolved, and the job forgets it.
  const bool load = std::holds_alternative<LoadWork>(assignment.item.work);
  if (blamed == nullptr) {
    if (!load) job->Return(std::move(assignment.item), replica.key);
  } else if (load) {
    job->LoadLost(step, replica, blamed->Label());
  } else {
    job->Failed(step, std::move(assignment.item), replica, kNobody,
                absl::StrCat(blamed->Label(), " was lost while it worked on it"),
                workers_.serving());
  }
}

// ---- Answers ----

bool Brain::Assignment::Complete() const {
  return std::all_of(answers.begin(), answers.end(),
                     [](const auto& answer) { return answer.has_value(); });
}

void Brain::On(const TaskFinished& event, const Step& step) {
  AttachedWorker* worker = workers_.Find(event.worker);
  if (worker == nullptr) return;  // its lease is over: what it says counts no more
  worker->last_heard = step.now;
  if (worker->reported_task == event.task) worker->reported_progress = 0;
  Replica* replica = replicas_.Find(worker->replica);
  const auto it = assignments_.find(event.task);
  const bool current =
      replica != nullptr && it != assignments_.end() && it->second.replica == replica->key;
  if (current && it->second.answers[*replica->StageOf(worker->key)].has_value()) {
    return;  // it came twice; it is acknowledged when the other stages have answered too
  }
  if (!current) {
    // It came twice or was cancelled meanwhile: the worker need not keep it.
    step.actions->push_back(SendAck{.worker = worker->key, .task = event.task});
    return;
  }
  if (event.epoch != replica->key) return;  // an answer from another life
  if (absl::IsCancelled(event.status)) {
    // Nobody cancelled it here: the worker is on its way out and hands back what it has.
    RemoveWorker(step, event.worker, "it handed its tasks back", /*blame=*/false);
    step.actions->push_back(CloseWorker{
        .worker = event.worker,
        .status = absl::AbortedError("this worker handed back its tasks; attach again")});
    return;
  }
  if (event.status.ok()) ++worker->tasks_done;
  TakePart(step, *worker, *replica, event);
}

void Brain::TakePart(const Step& step, const AttachedWorker& worker, Replica& replica,
                     const TaskFinished& event) {
  const size_t stage = *replica.StageOf(worker.key);
  Assignment& assignment = assignments_.at(event.task);
  assignment.answers[stage] = event;
  if (replica.stages() > 1 && absl::IsUnavailable(event.status)) {
    return LinkLost(step, replica, absl::StrCat(worker.Name(), ": ", event.status.message()));
  }
  // A stage that waited in vain for another one: that one's own answer says why.
  const bool wait = event.status.ok() || (replica.stages() > 1 && absl::IsAborted(event.status));
  if (wait && !assignment.Complete()) return;
  Assignment taken = Withdraw(step, event.task, kNobody);
  size_t failed = taken.answers.size();
  for (size_t i = 0; i < taken.answers.size(); ++i) {
    if (!taken.answers[i].has_value() || taken.answers[i]->status.ok()) continue;
    const bool root = !absl::IsAborted(taken.answers[i]->status);
    if (failed == taken.answers.size() || root) failed = i;
    if (root) break;
  }
  const TaskNotes notes = NotesOf(taken.answers);
  shares_.Worked(taken.job, notes.seconds + notes.preparation);
  // After what follows from it: it is acknowledged when it is stored.
  Actions acknowledgements;
  Acknowledge({.now = step.now, .actions = &acknowledgements}, taken, event.task);
  const JobId id = taken.job;
  if (failed < taken.answers.size()) {
    TaskFailed(step, replica, std::move(taken), failed);
  } else {
    TakeAnswer(step, replica, std::move(taken), event.task);
  }
  // The other stages may serve with a better one.
  const JobMachine* job = FindActive(id);
  if (replica.stages() > 1 && job != nullptr && job->Refuses(replica)) GiveUp(step, replica);
  step.actions->insert(step.actions->end(), acknowledgements.begin(), acknowledgements.end());
}

// The stages that have answered need not keep it.
void Brain::Acknowledge(const Step& step, const Assignment& assignment, TaskId task) const {
  const Replica& replica = *replicas_.Find(assignment.replica);
  for (size_t stage = 0; stage < assignment.answers.size(); ++stage) {
    if (!assignment.answers[stage].has_value()) continue;
    step.actions->push_back(SendAck{.worker = replica.workers[stage], .task = task});
  }
}

void Brain::TaskFailed(const Step& step, const Replica& replica, Assignment assignment,
                       size_t stage) {
  JobMachine* job = FindActive(assignment.job);
  if (job == nullptr || job->finished()) return;
  const absl::Status& status = assignment.answers[stage]->status;
  const AttachedWorker* worker = workers_.Find(replica.workers[stage]);
  if (std::holds_alternative<LoadWork>(assignment.item.work)) {
    choose_stages_ = true;
    return job->LoadFailed(step, replica, stage, status, workers_.serving());
  }
  job->Failed(step, std::move(assignment.item), replica, worker->key,
              absl::StrCat(worker->Label(), ": ", status.message()), workers_.serving());
}

void Brain::TakeAnswer(const Step& step, const Replica& replica, Assignment assignment,
                       TaskId task) {
  JobMachine* job = FindActive(assignment.job);
  if (job == nullptr || job->finished()) return;
  const TaskNotes notes = NotesOf(assignment.answers);
  std::vector<Outcome> parts;
  for (std::optional<TaskFinished>& answer : assignment.answers) {
    parts.push_back(std::move(answer->outcome));
  }
  if (std::holds_alternative<LoadWork>(assignment.item.work)) {
    return job->Loaded(step, replica, parts, workers_.serving());
  }
  const absl::StatusOr<Outcome> merged = MergeOutcomes(parts, job->split());
  absl::Status status = merged.status();
  if (status.ok()) status = job->Done(step, assignment.item, replica.key, task, *merged, notes);
  if (status.ok()) return;
  job->Failed(step, std::move(assignment.item), replica, replica.workers.front(),
              absl::StrCat("malformed answer: ", status.message()), workers_.serving());
}

Brain::Assignment Brain::Withdraw(const Step& step, TaskId task, WorkerKey except) {
  const auto it = assignments_.find(task);
  Assignment assignment = std::move(it->second);
  assignments_.erase(it);
  Replica& replica = *replicas_.Find(assignment.replica);
  replicas_.Unassign(replica, task);
  shares_.Ended(assignment.job);
  for (size_t stage = 0; stage < replica.workers.size(); ++stage) {
    const WorkerKey worker = replica.workers[stage];
    if (assignment.answers[stage].has_value() || worker == except) continue;
    step.actions->push_back(SendCancel{.worker = worker, .task = task});
  }
  return assignment;
}

std::set<JobId> Brain::GiveUp(const Step& step, Replica& replica) {
  std::set<JobId> jobs;
  while (!replica.window.empty()) {
    Assignment assignment = Withdraw(step, replica.window.back(), kNobody);
    jobs.insert(assignment.job);
    ReturnAssignment(step, replica, std::move(assignment), nullptr);
  }
  DissolveReplica(replica);
  return jobs;
}

void Brain::LinkLost(const Step& step, Replica& replica, const std::string& reason) {
  for (const JobId id : GiveUp(step, replica)) {
    JobMachine* job = FindActive(id);
    if (job != nullptr && !job->finished()) job->LinkLost(step, reason);
  }
}

// ---- Jobs ----

// It competes with the jobs of its kind and priority. Its number of stages is not known yet.
void Brain::EnterShares(const JobMachine& job) {
  const auto rivals = [](const JobMachine& machine) {
    const auto [path, precision, stages, statistics] = KindOf(machine);
    return std::tuple(machine.priority(), path, precision, statistics);
  };
  std::vector<JobId> peers;
  for (const auto& [id, other] : active_) {
    if (other->TakesPart() && rivals(*other) == rivals(job)) peers.push_back(id);
  }
  shares_.Enter(job.view().id, peers);
}

void Brain::On(const JobPrepared& event, const Step& step) {
  JobMachine* job = FindActive(event.job);
  if (job != nullptr) {
    job->Prepared(step, event.prepared);
    if (job->TakesPart()) EnterShares(*job);
  }
  choose_stages_ = true;
}

void Brain::On(const AnswersRecalled& event, const Step&) {
  answers_.Add(event.context, event.answers);
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
    shares_.Leave(it->first);
    const JobView view = it->second->view();
    if (finished_.emplace(it->first, view).second) ++finished_counts_[view.state];
    it = active_.erase(it);
  }
  // Nobody is before the oldest one.
  for (const auto& [id, job] : active_) {
    if (job->view().state == JobState::kPaused) continue;
    job->reporter().Activate(step);
    break;
  }
}

void Brain::CancelAssignments(const Step& step, JobId job) {
  std::vector<TaskId> tasks;
  for (const auto& [task, assignment] : assignments_) {
    if (assignment.job == job) tasks.push_back(task);
  }
  for (const TaskId task : tasks) {
    const Assignment assignment = Withdraw(step, task, kNobody);
    Acknowledge(step, assignment, task);
  }
}

// ---- What people see ----

void Brain::UpdateWaiting(const Step& step) {
  for (const auto& [id, job] : active_) job->reporter().SetWaiting(step, WaitingFor(*job));
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
    const Replica& replica = *replicas_.Find(assignment.replica);
    double share = 0;
    for (size_t stage = 0; stage < replica.workers.size(); ++stage) {
      const AttachedWorker& worker = *workers_.Find(replica.workers[stage]);
      const bool reported = worker.reported_task == task;
      share += assignment.answers[stage].has_value() ? 1 : reported ? worker.reported_progress : 0;
    }
    const double units = share / static_cast<double>(replica.workers.size()) *
                         static_cast<double>(assignment.item.units);
    sum += units;
    most = std::max(most, units);
  }
  return phase == JobPhase::kLoad ? most : sum;  // one loaded model is enough to go on
}

}  // namespace espalier
