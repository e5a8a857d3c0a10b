#include "coordinator/jobs/testing/invariants.h"

#include <cmath>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace espalier::testing_fakes {
namespace {

bool Allowed(JobState from, JobState to, bool was_paused) {
  if (from == to) return !IsFinal(from);
  if (IsFinal(from)) return false;
  if (from == JobState::kPaused && to == JobState::kQueued) return true;
  // A job that is paused finishes what it has in hand; its end may come when it waits again.
  if (to == JobState::kSucceeded) return from != JobState::kQueued || was_paused;
  return to != JobState::kQueued && (from != JobState::kPaused || to != JobState::kRunning);
}

bool IsCandidate(const Work& work) {
  const auto* evaluate = std::get_if<EvaluateWork>(&work);
  return evaluate != nullptr && evaluate->data_set == "search" && evaluate->count == 2;
}

}  // namespace

std::string Invariants::Check(const Action& action) {
  return std::visit([this](const auto& a) { return Of(a); }, action);
}

void Invariants::CoordinatorDied() {
  for (auto& [id, job] : jobs_) {
    if (IsFinal(job.state)) continue;
    job.log.clear();
    job.finished.clear();
  }
}

std::string Invariants::Of(const RecordJob& action) {
  return keys_.insert(action.idempotency_key).second ? "" : "one submission made two jobs";
}

std::string Invariants::Of(const RecordFact& action) {
  return IsFinal(jobs_[action.job].state) ? "a fact was stored of a job that had ended" : "";
}

std::string Invariants::Of(const SendWelcome& action) {
  if (workers_.count(action.worker) > 0) return "a worker was welcomed twice";
  if (action.epoch <= last_epoch_) return "an epoch came again";
  last_epoch_ = action.epoch;
  workers_[action.worker].epoch = action.epoch;
  replicas_[action.epoch] = 1;
  return "";
}

std::string Invariants::Of(const SendJoin& action) {
  WorkerHistory& worker = workers_[action.worker];
  if (worker.closed) return "a worker that is not there joined a replica";
  if (action.epoch < last_epoch_ || action.epoch <= worker.epoch) return "an epoch came again";
  last_epoch_ = action.epoch;
  worker.epoch = action.epoch;
  worker.open.clear();
  worker.model = {};
  const size_t stages = action.stage_addresses.size();
  const auto [it, first] = replicas_.emplace(action.epoch, stages);
  if (first != (action.stage == 0)) return "the stages of a replica joined in disorder";
  return it->second == stages ? "" : "the stages of a replica know different numbers of them";
}

std::string Invariants::Of(const CloseWorker& action) {
  workers_[action.worker].closed = true;
  return action.status.ok() ? "a stream was closed without a reason" : "";
}

std::string Invariants::Of(const DismissWorker& action) {
  WorkerHistory& worker = workers_[action.worker];
  worker.closed = true;
  return worker.open.empty() ? "" : "a worker was dismissed that had work to do";
}

std::string Invariants::Of(const ForgetJob& action) {
  return jobs_[action.job].released ? "" : "an unfinished job was forgotten";
}

std::string Invariants::Of(const SendDataSet& action) {
  workers_[action.worker].data_sets.insert(action.hash);
  return "";
}

std::string Invariants::Of(const SendTask& action) {
  WorkerHistory& worker = workers_[action.worker];
  if (worker.closed || worker.epoch != action.epoch) return "a task for a worker that is not there";
  const size_t stages = replicas_[action.epoch];
  if (action.stage.first == 0) {
    if (action.task <= last_task_) return "a task id came again";
    last_task_ = action.task;
  } else {
    // The same task for the next stage.
    const SendTask& before = tasks_[action.task];
    if (before.epoch != action.epoch || before.stage.end() != action.stage.first ||
        before.work.index() != action.work.index()) {
      return "the stages of a replica were given different tasks";
    }
  }
  tasks_[action.task] = action;
  if (action.last_stage != (action.stage.end() == 2)) return "a task does not reach the last layer";
  if (!worker.open.insert(action.task).second) return "a worker was given a task twice";
  if (std::holds_alternative<LoadWork>(action.work)) worker.model = action.model;
  if (worker.model.path != action.model.path || worker.model.precision != action.model.precision) {
    return "a task names a model that the worker was not told to load";
  }
  if (worker.open.size() > stages + 1) return "a worker has more tasks than its window";
  if (jobs_[action.job].state != JobState::kRunning) return "a task of a job that does not run";
  const auto* evaluate = std::get_if<EvaluateWork>(&action.work);
  if (evaluate != nullptr && worker.data_sets.count(evaluate->data_set) == 0) {
    return "a task names a data set that was not sent";
  }
  if (IsCandidate(action.work) && evaluate->subnet != nullptr && action.model.hash.empty()) {
    return "a candidate went out before the model's content was known";
  }
  return "";
}

std::string Invariants::Of(const SendCancel& action) {
  return workers_[action.worker].open.erase(action.task) == 0 ? "an unknown task was cancelled"
                                                              : "";
}

std::string Invariants::Of(const SendAck& action) {
  workers_[action.worker].open.erase(action.task);
  return "";
}

std::string Invariants::Of(const PrepareJob& action) {
  return jobs_.count(action.job) == 0 ? "a job was prepared before its first event" : "";
}

std::string Invariants::Of(const AppendPopulation& action) {
  JobHistory& job = jobs_[action.job];
  if (job.finished.count(action.part) > 0 || job.released)
    return "the population log grew after its end";
  std::istringstream lines(action.lines);
  for (std::string line; std::getline(lines, line);) {
    const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (json.is_discarded()) return "a line of the population log is no JSON";
    const std::string name =
        absl::StrCat(action.part, "/", json["generation"].dump(), "/", json["slot"].dump());
    if (!job.log.insert(name).second) return absl::StrCat("candidate ", name, " counts twice");
  }
  return "";
}

std::string Invariants::Of(const FinishOutput& action) {
  JobHistory& job = jobs_[action.job];
  if (!job.finished.insert(action.part).second) return "a result was finished twice";
  return action.files.back().name == "subnet.json" ? "" : "subnet.json is not the last file";
}

std::string Invariants::Of(const ReleaseJob& action) {
  JobHistory& job = jobs_[action.job];
  if (std::exchange(job.released, true)) return "a job was released twice";
  return IsFinal(job.state) ? "" : "an unfinished job was released";
}

std::string Invariants::Of(const PublishEvent& action) {
  JobHistory& job = jobs_[action.job];
  if (action.number != ++job.last_event) return "event numbers have gaps";
  const JobState from = std::exchange(job.state, action.state);
  job.was_paused = job.was_paused || from == JobState::kPaused;
  if (action.number > 1 && !Allowed(from, action.state, job.was_paused)) {
    return "a state changed against the diagram";
  }
  if (action.progress.size < job.size) return "a size came again";
  if (std::exchange(job.size, action.progress.size) < action.progress.size) {
    job.phase = JobPhase::kInitialize;
    job.best = 0;
  }
  if (std::exchange(job.phase, action.progress.phase) > action.progress.phase) {
    return "a phase came again";
  }
  const double best = std::exchange(job.best, action.progress.best_perplexity);
  if (best > 0 && !(action.progress.best_perplexity <= best)) return "the best got worse";
  if (action.progress.done > action.progress.total) return "more done than there is";
  if (action.state == JobState::kSucceeded && std::ssize(action.results) != action.progress.sizes) {
    return "a success without its results";
  }
  if (action.state == JobState::kFailed && action.error.empty()) return "a failure without reason";
  return "";
}

}  // namespace espalier::testing_fakes
