// Which workers form replicas, and who works on what.
#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "coordinator/jobs/brain.h"

namespace espalier {

// ---- Replicas ----

// Attached workers that can be part of a replica of several stages for this job.
size_t Brain::CountReachable(const JobMachine& job) const {
  const std::set<WorkerKey>& refused = job.holders().refused();
  return workers_.reachable() - std::count_if(refused.begin(), refused.end(), [&](WorkerKey key) {
           const AttachedWorker& worker = *workers_.Find(key);
           return !worker.draining && !worker.info.stage_address.empty();
         });
}

// Jobs that no replica serves yet, or any more, look at the workers that there are now.
void Brain::ChooseStages() {
  if (!std::exchange(choose_stages_, false)) return;
  for (const auto& [id, job] : active_) {
    if (!job->MayChooseStages()) continue;
    std::vector<WorkerInfo> infos;
    for (const auto& [key, worker] : workers_.all()) {
      if (!worker.draining && !job->holders().IsRefused(key)) infos.push_back(worker.info);
    }
    job->ChooseStages(infos);
  }
}

// What the allotment depends on, but for workers and replicas: those set reallot_ themselves.
bool Brain::JobsChanged() {
  std::vector<JobStanding> standing;
  standing.reserve(active_.size());
  for (const auto& [id, job] : active_) {
    standing.push_back({.job = id,
                        .wants = job->MayHaveWorkers(),
                        .stages = job->stages(),
                        .phase = job->view().progress.phase,
                        .refused = job->holders().refused().size()});
  }
  if (standing == standing_) return false;
  standing_ = std::move(standing);
  return true;
}

Brain::Kind Brain::KindOf(const JobMachine& job) {
  const ModelRef model = job.model();
  return {model.path, model.precision, job.stages(), job.StatisticsId()};
}

// Jobs of one model, precision, number of stages and calibration, together.
std::vector<Brain::ClaimOfJobs> Brain::Claims() {
  std::map<Kind, ClaimOfJobs> groups;
  for (const auto& [id, job] : active_) {
    if (!job->MayHaveWorkers() || job->stages() == 0) continue;
    ClaimOfJobs& group = groups[KindOf(*job)];
    Claim& claim = group.claim;
    const int64_t priority = job->priority();
    if (group.jobs.empty() || priority > claim.priority) {
      claim.priority = priority;
      claim.jobs = 0;
      claim.stages = job->stages();
    }
    claim.jobs += priority == claim.priority ? 1 : 0;
    claim.demand += job->Demand(shares_.open(id));
    for (const auto& [key, worker] : workers_.all()) {
      const bool reachable = job->stages() == 1 || !worker.info.stage_address.empty();
      if (reachable && !worker.draining && !job->holders().IsRefused(key)) {
        claim.eligible.insert(key);
      }
    }
    group.jobs.push_back(id);
  }
  std::vector<ClaimOfJobs> claims;
  claims.reserve(groups.size());
  for (auto& [kind, group] : groups) {
    group.kind = kind;
    claims.push_back(std::move(group));
  }
  std::sort(claims.begin(), claims.end(), [](const ClaimOfJobs& a, const ClaimOfJobs& b) {
    if (a.claim.priority != b.claim.priority) return a.claim.priority > b.claim.priority;
    return a.jobs.front() < b.jobs.front();
  });
  return claims;
}

void Brain::DissolveReplica(const Replica& replica) {
  for (const WorkerKey key : replica.workers) {
    workers_.Find(key)->replica = 0;
    loose_.insert(key);
  }
  const ReplicaKey key = replica.key;
  for (const auto& [id, job] : active_) job->ReplicaGone(key);
  choose_stages_ = true;
  reallot_ = true;
  replicas_.Dissolve(key);
}

Replica& Brain::FormReplica(const Step& step, std::vector<WorkerKey> workers) {
  std::vector<std::string> names;
  std::vector<std::string> addresses;
  for (const WorkerKey key : workers) {
    const AttachedWorker& worker = *workers_.Find(key);
    names.push_back(workers.size() == 1 ? worker.Label() : worker.Name());
    addresses.push_back(worker.info.stage_address);
  }
  Replica& replica = replicas_.Form(std::move(workers), absl::StrJoin(names, " and "));
  for (size_t stage = 0; stage < replica.workers.size(); ++stage) {
    const WorkerKey key = replica.workers[stage];
    workers_.Find(key)->replica = replica.key;
    loose_.erase(key);
    step.actions->push_back(SendJoin{.worker = key,
                                     .epoch = replica.key,
                                     .stage = static_cast<int64_t>(stage),
                                     .stage_addresses = addresses});
  }
  return replica;
}

// Decides anew who is to serve which jobs. Replicas that are to be are formed when those that their
// workers are in have finished what they have.
void Brain::Reallot() {
  const std::vector<ClaimOfJobs> before = std::exchange(claims_, Claims());
  std::vector<Claim> claims;
  claims.reserve(claims_.size());
  for (const ClaimOfJobs& claim : claims_) claims.push_back(claim.claim);
  std::vector<Allotted> replicas;
  for (const auto& [key, replica] : replicas_.all()) {
    // Indices change, kinds stay.
    std::optional<size_t> claim;
    for (size_t c = 0; replica.claim.has_value() && c < claims_.size(); ++c) {
      if (before[*replica.claim].kind == claims_[c].kind) claim = c;
    }
    replicas.push_back({.workers = replica.workers, .claim = claim});
  }
  for (const WorkerKey worker : loose_) replicas.push_back({.workers = {worker}, .claim = {}});
  replicas_.ForgetClaims();
  planned_.clear();
  for (Allotted& wanted : Allot(claims, replicas)) {
    Replica* replica = replicas_.Find(workers_.Find(wanted.workers.front())->replica);
    if (replica != nullptr && replica->workers == wanted.workers) {
      replica->claim = wanted.claim;
    } else {
      planned_.push_back(std::move(wanted));
    }
  }
}

void Brain::Regroup(const Step& step) {
  ChooseStages();
  const bool jobs_changed = JobsChanged();
  if (jobs_changed || std::exchange(reallot_, false)) Reallot();
  reallot_ = false;
  std::erase_if(planned_, [&](const Allotted& wanted) { return FormIfIdle(step, wanted); });
  DismissDrained(step);
  // Who is left over is alone.
  while (!loose_.empty()) FormReplica(step, {*loose_.begin()});
}

void Brain::DismissDrained(const Step& step) {
  const std::set<WorkerKey> draining = workers_.draining();
  for (const WorkerKey key : draining) {
    const Replica* replica = replicas_.Find(workers_.Find(key)->replica);
    if (replica != nullptr && !replica->window.empty()) continue;
    RemoveWorker(step, key, "it was drained", /*blame=*/false);
    step.actions->push_back(DismissWorker{.worker = key, .reason = "it was drained"});
  }
}

// Forms a planned replica, unless some of its workers are in ones that still work.
bool Brain::FormIfIdle(const Step& step, const Allotted& wanted) {
  for (const WorkerKey key : wanted.workers) {
    const Replica* replica = replicas_.Find(workers_.Find(key)->replica);
    if (replica != nullptr && !replica->window.empty()) return false;
  }
  for (const WorkerKey key : wanted.workers) {
    const Replica* replica = replicas_.Find(workers_.Find(key)->replica);
    if (replica != nullptr) DissolveReplica(*replica);
  }
  FormReplica(step, wanted.workers).claim = wanted.claim;
  return true;
}

// ---- Dispatch ----

void Brain::Dispatch(const Step& step) {
  // Usually nobody has room, or, at the end of a generation, everybody and there is nothing for
  // them.
  const bool work = std::any_of(active_.begin(), active_.end(),
                                [this](const auto& job) { return MayHaveTask(*job.second); });
  if (!work) return;
  int left = options_.most_a_step;
  // First everybody gets one task, then a second: the last tasks of a generation are spread out.
  for (size_t depth = 0; depth < replicas_.LargestCapacity(); ++depth) {
    for (const ReplicaKey key : replicas_.WithRoom()) {
      Replica* replica = replicas_.Find(key);
      if (replica->window.size() > depth || !AssignOne(step, *replica)) continue;
      if (--left > 0) continue;
      more_ = true;
      return;
    }
  }
  more_ = more_ || std::any_of(active_.begin(), active_.end(),
                               [](const auto& job) { return job.second->HasMoreToRecall(); });
}

// False when it has no work, and no replica that could be asked to load its model.
bool Brain::MayHaveTask(const JobMachine& job) const {
  if (!job.WantsWorkers()) return false;
  using State = ModelHolders::State;
  const size_t asked = job.holders().Count(State::kLoading) + job.holders().Count(State::kReady);
  return job.HasWork() || asked < replicas_.size();
}

// Of the jobs that the replica is there for: the highest priority first; within one, what ends a
// job before what goes on with a search; and of searches the one that has had least.
std::vector<JobMachine*> Brain::Candidates(const Replica& replica) {
  std::vector<JobMachine*> jobs;
  for (const JobId id : claims_[*replica.claim].jobs) {
    JobMachine* job = FindActive(id);
    if (job != nullptr && !job->Refuses(replica)) jobs.push_back(job);
  }
  const auto rank = [this](const JobMachine* job) {
    const double had = job->searching() ? shares_.Seconds(job->view().id) : 0;
    return std::tuple(-job->priority(), job->searching(), had);
  };
  if (jobs.size() > 1) {
    std::stable_sort(jobs.begin(), jobs.end(),
                     [&](const JobMachine* a, const JobMachine* b) { return rank(a) < rank(b); });
  }
  return jobs;
}

bool Brain::AssignOne(const Step& step, Replica& replica) {
  if (!replica.claim.has_value()) return false;
  for (JobMachine* job : Candidates(replica)) {
    if (job->holders().state(replica.key) == ModelHolders::State::kReady) {
      if (std::optional<WorkItem> item = job->Take(step, replica.key)) {
        Assign(step, replica, *job, *std::move(item));
        return true;
      }
    } else if (job->WantsWorkers() && MayLoad(replica, *job)) {
      ForgetModels(replica, *job);
      Assign(step, replica, *job, job->StartLoad(step, replica.key));
      return true;
    }
  }
  return false;
}

// Not while it loads; and what it has in hand of another model comes first.
bool Brain::MayLoad(const Replica& replica, const JobMachine& job) const {
  const ModelRef model = job.model();
  return std::all_of(replica.window.begin(), replica.window.end(), [&](TaskId task) {
    const Assignment& assignment = assignments_.at(task);
    const auto other = active_.find(assignment.job);
    if (other == active_.end()) return false;
    return !std::holds_alternative<LoadWork>(assignment.item.work) &&
           other->second->model().path == model.path &&
           other->second->model().precision == model.precision;
  });
}

// A worker keeps one model.
void Brain::ForgetModels(const Replica& replica, const JobMachine& job) {
  const ModelRef model = job.model();
  for (const auto& [id, other] : active_) {
    const ModelRef theirs = other->model();
    if (theirs.path != model.path || theirs.precision != model.precision) {
      other->ReplicaGone(replica.key);
    }
  }
}

void Brain::Assign(const Step& step, Replica& replica, JobMachine& job, WorkItem item) {
  const JobId id = job.view().id;
  const TaskId task = ++last_task_;
  job.reporter().Activate(step);
  ForgetStatistics(replica, job, item.work);
  for (size_t stage = 0; stage < replica.workers.size(); ++stage) {
    AttachedWorker& worker = *workers_.Find(replica.workers[stage]);
    SendDataSets(step, worker, id, item.work);
    step.actions->push_back(SendTask{.worker = worker.key,
                                     .task = task,
                                     .epoch = replica.key,
                                     .job = id,
                                     .model = job.model(replica, stage),
                                     .stage = job.split()[stage],
                                     .last_stage = stage + 1 == replica.workers.size(),
                                     .work = item.work});
  }
  replicas_.Assign(replica, task);
  shares_.Given(id);
  Assignment& assignment = assignments_[task];
  assignment = {.job = id, .replica = replica.key, .item = std::move(item), .answers = {}};
  assignment.answers.resize(replica.workers.size());
}

// A worker keeps the statistics of one text.
void Brain::ForgetStatistics(const Replica& replica, const JobMachine& job, const Work& work) {
  const auto* calibrate = std::get_if<CalibrateWork>(&work);
  if (calibrate == nullptr) return;
  for (const auto& [id, other] : active_) {
    if (other.get() == &job || other->SharesStatistics(*calibrate)) continue;
    other->StatisticsGone(replica.key);
  }
}

void Brain::SendDataSets(const Step& step, AttachedWorker& worker, JobId job, const Work& work) {
  std::vector<std::string> hashes;
  if (const auto* calibrate = std::get_if<CalibrateWork>(&work)) {
    hashes = {calibrate->data_set, calibrate->predictions};
  }
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

// Why a job with work to do has nobody who does it: whom the others work for.
std::string Brain::WhoHasTheWorkers(const JobMachine& job) const {
  std::set<std::string> others;
  for (const auto& [key, replica] : replicas_.all()) {
    if (!replica.claim.has_value()) continue;
    for (const JobId id : claims_[*replica.claim].jobs) {
      if (id == job.view().id) return "";
      others.insert(absl::StrCat("job-", id));
    }
  }
  if (others.empty()) return "";
  return absl::StrCat("workers: they are busy with ", absl::StrJoin(others, ", "));
}

std::string Brain::WaitingFor(const JobMachine& job) const {
  if (job.view().state == JobState::kPaused) return "somebody to resume it";
  if (!job.WantsWorkers()) return "";
  if (workers_.serving() == 0) return "a worker to attach";
  if (job.holders().refused().size() >= workers_.serving()) {
    return "a worker that has this job's model";
  }
  if (job.stages() > 1) {
    const size_t serving = CountReachable(job);
    if (serving < static_cast<size_t>(job.stages())) {
      return absl::StrCat(job.stages(),
                          " workers with a --stage-listen address, one for each stage; ", serving,
                          " attached");
    }
  }
  if (shares_.open(job.view().id) == 0) return WhoHasTheWorkers(job);
  return "";
}

}  // namespace espalier
