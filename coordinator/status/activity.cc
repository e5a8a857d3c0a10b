#include "coordinator/status/activity.h"

#include <algorithm>
#include <variant>

namespace espalier {

void ActivityCounters::Saw(const Event& event, const Actions& answer) {
  if (std::holds_alternative<Tick>(event)) {
    // Only the end of its lease makes the brain close a worker because time passed.
    totals_.leases_expired += std::count_if(answer.begin(), answer.end(), [](const Action& action) {
      return std::holds_alternative<CloseWorker>(action);
    });
    return;
  }
  ++change_;
  if (const auto* finished = std::get_if<TaskFinished>(&event)) Finished(*finished);
  if (const auto* lost = std::get_if<WorkerLost>(&event)) ReturnAllOf(lost->worker);
  if (const auto* left = std::get_if<WorkerLeft>(&event)) ReturnAllOf(left->worker);
}

void ActivityCounters::Saw(const Actions& actions) {
  if (!actions.empty()) ++change_;
  for (const Action& action : actions) {
    if (const auto* task = std::get_if<SendTask>(&action)) Assigned(*task);
    if (const auto* event = std::get_if<PublishEvent>(&action)) Published(*event);
    if (const auto* close = std::get_if<CloseWorker>(&action)) ReturnAllOf(close->worker);
    if (const auto* join = std::get_if<SendJoin>(&action)) ReturnAllOf(join->worker);
    if (const auto* cancel = std::get_if<SendCancel>(&action)) {
      ReturnIf([cancel](TaskId id, const OpenTask&) { return id == cancel->task; });
    }
  }
}

void ActivityCounters::Finished(const TaskFinished& event) {
  const auto it = open_.find(event.task);
  if (it == open_.end() || it->second.worker != event.worker) return;  // twice, or too late
  if (absl::IsCancelled(event.status)) {
    ++totals_.tasks_returned;
  } else if (!event.status.ok()) {
    ++totals_.tasks_failed;
  } else {
    ++totals_.tasks_finished;
    if (it->second.candidate) ++totals_.candidates_evaluated;
  }
  open_.erase(it);
}

void ActivityCounters::Assigned(const SendTask& task) {
  if (!task.last_stage) return;  // a task counts once, whatever the number of stages
  ++totals_.tasks_assigned;
  const auto phase = phases_.find(task.job);
  const bool searching = phase != phases_.end() && (phase->second == JobPhase::kInitialize ||
                                                    phase->second == JobPhase::kSearch);
  open_[task.task] = {.worker = task.worker,
                      .candidate = searching && std::holds_alternative<EvaluateWork>(task.work)};
}

void ActivityCounters::Published(const PublishEvent& event) {
  if (IsFinal(event.state)) {
    phases_.erase(event.job);
  } else {
    phases_[event.job] = event.progress.phase;
  }
}

void ActivityCounters::ReturnIf(const std::function<bool(TaskId, const OpenTask&)>& condition) {
  totals_.tasks_returned += static_cast<int64_t>(
      std::erase_if(open_, [&](const auto& task) { return condition(task.first, task.second); }));
}

void ActivityCounters::ReturnAllOf(WorkerKey worker) {
  ReturnIf([worker](TaskId, const OpenTask& task) { return task.worker == worker; });
}

}  // namespace espalier
