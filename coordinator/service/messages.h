// Between messages and the brain's plain types. Nothing here knows a network.
//
// protobuf refuses strings that are not UTF-8, and file names may be anything: bytes that belong to
// no character become '?' on the way out.
#ifndef ESPALIER_COORDINATOR_SERVICE_MESSAGES_H_
#define ESPALIER_COORDINATOR_SERVICE_MESSAGES_H_

#include <string>

#include "absl/status/statusor.h"
#include "common/text.h"
#include "coordinator/jobs/actions.h"
#include "espalier/v1/jobs.pb.h"
#include "espalier/v1/worker.pb.h"

namespace espalier {

// "job-7", and back: INVALID_ARGUMENT, saying how ids look, for anything else.
std::string JobName(JobId job);
absl::StatusOr<JobId> ParseJobName(const std::string& name);
absl::StatusOr<uint64_t> ParseWorkerName(const std::string& name);

WorkerInfo InfoFromMessage(const v1::Hello& hello);
WorkerHeartbeat HeartbeatFromMessage(WorkerKey worker, const v1::Heartbeat& heartbeat);
// An error or a missing outcome becomes the event's status.
TaskFinished ResultFromMessage(WorkerKey worker, const v1::TaskResult& result);

// What a task's answer holds, and back; std::monostate for nothing.
Outcome OutcomeFromMessage(const v1::TaskResult& result);
TaskNotes NotesFromMessage(const v1::TaskResult& result);
void WriteOutcome(const Outcome& outcome, v1::TaskResult* result);

v1::CoordinatorMessage TaskMessage(const SendTask& action);
v1::CoordinatorMessage JoinMessage(const SendJoin& action, const std::string& secret);
v1::CoordinatorMessage DataSetMessage(const TokenSequences& sequences);

// `unix_ms` is the wall-clock time of the brain's time 0.
v1::Job JobMessage(const JobView& view, int64_t unix_ms);
v1::JobEvent EventMessage(const PublishEvent& event, int64_t unix_ms);
v1::Worker WorkerMessage(const WorkerView& view);

// Back from what JobMessage and EventMessage wrote.
JobState StateFromMessage(v1::JobState state);
ProgressView ProgressFromMessage(const v1::Progress& message);
ResultView ResultFromMessage(const v1::Result& message);

// `text` with '?' for bytes that belong to no character.
std::string Utf8(std::string text);

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_SERVICE_MESSAGES_H_
