// Which workers form replicas, and who works on what.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "coordinator/jobs/brain.h"

namespace espalier {
// ---- Replicas ----

// Attached workers that can be part of a replica for this job.
size_t Brain::CountServing(const JobMachine& job) const {
  const std::set<WorkerKey>& refused = job.holders().refused();
  if (job.stages() <= 1) return workers_.size() - refused.size();
  return workers_.reachable() - std::count_if(refused.begin(), refused.end(), [&](WorkerKey key) {
           return !workers_.Find(key)->info.stage_address.empty();
         });
}

// Jobs that no replica serves yet, or any more, look at the workers that there are now.
void Brain::ChooseStages() {
  if (!std::exchange(choose_stages_, false)) return;
  for (const auto& [id, job] : active_) {
    if (!job->MayChooseStages()) continue;
    std::vector<WorkerInfo> infos;
    for (const auto& [key, worker] : workers_.all()) {
      if (!job->holders().IsRefused(key)) infos.push_back(worker.info);
    }
    job->ChooseStages(infos);
  }
}

// The oldest job that wants workers and can have them: replicas are formed for it.
JobMachine* Brain::Lead() {
  for (const auto& [id, job] : active_) {
    if (!job->WantsWorkers()) continue;
    if (job->stages() > 0 && CountServing(*job) >= static_cast<size_t>(job->stages())) {
      return job.get();
    }
  }
  return nullptr;
}

void Brain::DissolveReplica(const Replica& replica) {
  for (const WorkerKey key : replica.workers) {
    workers_.Find(key)->replica = 0;
    loose_.insert(key);
  }
  const ReplicaKey key = replica.key;
  for (const auto& [id, job] : active_) job->ReplicaGone(key);
  choose_stages_ = true;
  replicas_.Dissolve(key);
}

void Brain::FormReplica(const Step& step, std::vector<WorkerKey> workers) {
  std::vector<std::string> names;
  std::vector<std::string> addresses;
  for (const WorkerKey key : workers) {
    const AttachedWorker& worker = *workers_.Find(key);
    names.push_back(workers.size() == 1 ? worker.Label() : worker.Name());
    addresses.push_back(worker.info.stage_address);
  }
  const Replica& replica = replicas_.Form(std::move(workers), absl::StrJoin(names, " and "));
  for (size_t stage = 0; stage < replica.workers.size(); ++stage) {
    const WorkerKey key = replica.workers[stage];
    workers_.Find(key)->replica = replica.key;
    loose_.erase(key);
    step.actions->push_back(SendJoin{.worker = key,
                                     .epoch = replica.key,
                                     .stage = static_cast<int64_t>(stage),
                                     .stage_addresses = addresses});
  }
}

// Those in no replica, or in one that has nothing to do and not the size that the job needs.
std::vector<WorkerKey> Brain::FreeWorkers(const JobMachine& lead) const {
  std::set<WorkerKey> free = loose_;
  for (const ReplicaKey key : replicas_.IdleOfOtherSize(lead.stages())) {
    const Replica& replica = *replicas_.Find(key);
    free.insert(replica.workers.begin(), replica.workers.end());
  }
  std::erase_if(free, [&](WorkerKey key) {
    return lead.holders().IsRefused(key) ||
           (lead.stages() > 1 && workers_.Find(key)->info.stage_address.empty());
  });
  return {free.begin(), free.end()};
}

void Brain::Regroup(const Step& step) {
  ChooseStages();
  if (JobMachine* lead = Lead()) {
    const std::vector<WorkerKey> free = FreeWorkers(*lead);
    const auto size = static_cast<size_t>(lead->stages());
    for (size_t first = 0; first + size <= free.size(); first += size) {
      std::vector<WorkerKey> workers(free.begin() + static_cast<int64_t>(first),
                                     free.begin() + static_cast<int64_t>(first + size));
      for (const WorkerKey key : workers) {
        const Replica* replica = replicas_.Find(workers_.Find(key)->replica);
        if (replica != nullptr) DissolveReplica(*replica);
      }
      FormReplica(step, std::move(workers));
    }
  }
  // Who is left over is alone.
  while (!loose_.empty()) FormReplica(step, {*loose_.begin()});
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
}

// False when it has no work, and no replica that could be asked to load its model.
bool Brain::MayHaveTask(const JobMachine& job) const {
  if (!job.WantsWorkers()) return false;
  using State = ModelHolders::State;
  const size_t asked = job.holders().Count(State::kLoading) + job.holders().Count(State::kReady);
  return job.HasWork() || asked < replicas_.size();
}

bool Brain::AssignOne(const Step& step, Replica& replica) {
  const JobMachine* first = nullptr;
  for (const auto& [id, job] : active_) {
    if (job->Refuses(replica)) continue;
    // What it needs is not there: others need not wait for that.
    if (job->stages() == 0 || CountServing(*job) < static_cast<size_t>(job->stages())) continue;
    if (first == nullptr) first = job.get();
    // Younger jobs fill the gaps of the oldest, but never make a worker change its model for them.
    const ModelRef model = job->model();
    if (model.path != first->model().path || model.precision != first->model().precision) continue;
    if (job->stages() != replica.stages()) {
      // It becomes idle and is formed anew.
      if (job->WantsWorkers()) return false;
      continue;
    }
    const ModelHolders::State state = job->holders().state(replica.key);
    // While a replica loads for an older job it has no gap.
    if (state == ModelHolders::State::kLoading) return false;
    if (state == ModelHolders::State::kReady) {
      if (std::optional<WorkItem> item = job->Take(replica.key)) {
        Assign(step, replica, *job, *std::move(item));
        return true;
      }
    } else if (job->WantsWorkers()) {
      Assign(step, replica, *job, job->StartLoad(step, replica.key));
      return true;
    }
  }
  return false;
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
  Assignment& assignment = assignments_[task];
  assignment = {.job = id, .replica = replica.key, .item = std::move(item), .answers = {}};
  assignment.answers.resize(replica.workers.size());
}

// A worker keeps one model, and the statistics of one text.
void Brain::ForgetStatistics(const Replica& replica, const JobMachine& job, const Work& work) {
  const ModelRef model = job.model();
  for (const auto& [id, other] : active_) {
    if (other.get() == &job) continue;
    const bool same_model =
        other->model().path == model.path && other->model().precision == model.precision;
    const auto* calibrate = std::get_if<CalibrateWork>(&work);
    const bool same_text = calibrate == nullptr || calibrate->data_set == other->calibration();
    if (!same_model || !same_text) other->StatisticsGone(replica.key);
  }
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

std::string Brain::WaitingFor(JobMachine& job) const {
  if (job.view().state == JobState::kQueued) {
    return absl::StrCat("job-", active_.begin()->first, " to end");
  }
  if (!job.WantsWorkers()) return "";
  if (workers_.size() == 0) return "a worker to attach";
  if (job.holders().refused().size() >= workers_.size())
    return "a worker that has this job's model";
  const size_t serving = CountServing(job);
  if (job.stages() > 1 && serving < static_cast<size_t>(job.stages())) {
    return absl::StrCat(job.stages(),
                        " workers with a --stage-listen address, one for each stage; ", serving,
                        " attached");
  }
  return "";
}

}  // namespace espalier
