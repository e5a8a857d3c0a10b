// What a job's course depends on is recorded, and repeated after a restart.
#include <algorithm>
#include <optional>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "coordinator/jobs/job_machine.h"

namespace espalier {
namespace {

absl::Status NotOpen() {
  return absl::FailedPreconditionError(
      "it names a piece of work that does not exist; was it written by another version?");
}

}  // namespace

void JobMachine::Record(const Step& step, Fact fact) {
  step.actions->push_back(
      RecordFact{.job = view().id, .entry = {.time = step.now, .fact = std::move(fact)}});
}

void JobMachine::Replay(const Step& step, size_t most) {
  const size_t end = std::min(journal_.size(), replayed_ + most);
  while (replayed_ < end && !finished()) {
    if (const absl::Status status = Repeat(step, journal_[replayed_++]); !status.ok()) {
      EndReplay(step);
      return Fail(step, absl::StrCat("the job cannot be taken up again: ", status.message()));
    }
  }
  if (end < journal_.size() && !finished()) return;
  EndReplay(step);
  if (finished()) return;  // what was stored makes no sense to this version
  reporter_.Message(
      step, absl::StrCat("the coordinator was restarted; ", end, " stored results were taken up"));
}

void JobMachine::EndReplay(const Step& step) {
  journal_ = {};
  reporter_.EndReplay(step.now);
}

absl::Status JobMachine::Repeat(const Step& step, const JournalEntry& entry) {
  const bool is_written = size_ < written_;
  Actions past;
  const Step then{.now = entry.time, .actions = &past};
  absl::Status status =
      std::visit([&](const auto& fact) { return Repeat(then, fact); }, entry.fact);
  // What was stored was also carried out; but the population log is written to a new folder, and
  // what was only in memory is gone. The log of a
  // size that is written is in its folder.
  // An event is the job's end: others are not published now.
  for (Action& action : past) {
    if ((std::holds_alternative<AppendPopulation>(action) && !is_written) ||
        std::holds_alternative<RecallAnswers>(action) ||
        std::holds_alternative<PublishEvent>(action)) {
      step.actions->push_back(std::move(action));
    }
  }
  return status;
}

absl::Status JobMachine::Repeat(const Step& step, const ModelFixed& fact) {
  reporter_.Activate(step);
  holders_.Fix(fact.hash);
  OpenAnswers(step);
  StartCalibration(step, fact.worker);
  return absl::OkStatus();
}

std::optional<WorkItem> JobMachine::Reopen(const WorkKey& key) {
  std::optional<WorkItem> item = queue_.Pop(key);
  while (!item.has_value() && DrawCandidate()) item = queue_.Pop(key);
  return item;
}

absl::Status JobMachine::Repeat(const Step& step, const WorkDone& fact) {
  const std::optional<WorkItem> item = Reopen(fact.key);
  if (!item.has_value()) return NotOpen();
  return Accept(step, *item, /*task=*/0, fact.outcome, fact.notes);
}

absl::Status JobMachine::Repeat(const Step& step, const WorkFailed& fact) {
  std::optional<WorkItem> item = Reopen(fact.key);
  if (!item.has_value()) return NotOpen();
  TryAgain(step, *std::move(item), kNobody, fact.reason);
  return absl::OkStatus();
}

absl::Status JobMachine::Repeat(const Step& step, const SizeWritten& fact) {
  if (view().progress.phase != JobPhase::kExport || size_ + 1 >= targets_.size()) return NotOpen();
  ClearWork();
  result_ = BuildResult(fact.seconds);
  FinishSize(step);
  return absl::OkStatus();
}

}  // namespace espalier
