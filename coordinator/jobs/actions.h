// What the coordinator's brain wants done. Plain data, carried out in order by its surroundings:
// what is to be stored first, so that nothing is seen outside that a crash could undo.
#ifndef ESPALIER_COORDINATOR_JOBS_ACTIONS_H_
#define ESPALIER_COORDINATOR_JOBS_ACTIONS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "coordinator/jobs/journal.h"
#include "coordinator/jobs/types.h"

namespace espalier {

struct SendWelcome {
  WorkerKey worker = 0;
  uint64_t number = 0;
  uint64_t epoch = 0;
};

// Ends the stream with this status. The brain has already forgotten the worker.
struct CloseWorker {
  WorkerKey worker = 0;
  absl::Status status;
};

// The worker's time is over and nothing went wrong: it is told to end. The brain has already
// forgotten it.
struct DismissWorker {
  WorkerKey worker = 0;
  std::string reason;
};

struct SendDataSet {
  WorkerKey worker = 0;
  JobId job = 0;
  std::string hash;
};

// The worker leaves its replica for another one, and forgets what it worked on. A replica of one
// needs no addresses.
struct SendJoin {
  WorkerKey worker = 0;
  uint64_t epoch = 0;
  int64_t stage = 0;
  std::vector<std::string> stage_addresses;  // of all stages, in order
};

// To one worker of a replica; the other stages get the same task.
struct SendTask {
  WorkerKey worker = 0;
  TaskId task = 0;
  uint64_t epoch = 0;
  JobId job = 0;
  ModelRef model;      // its hash: of the stage's tensors, once they are known
  StageRange stage{};  // the worker's part of the model
  bool last_stage = true;
  Work work;
};

struct SendCancel {
  WorkerKey worker = 0;
  TaskId task = 0;
};

struct SendAck {
  WorkerKey worker = 0;
  TaskId task = 0;
};

// Read the model's config and tokenizer and the texts; answer with JobPrepared.
struct PrepareJob {
  JobId job = 0;
  std::shared_ptr<const JobSpec> spec;
};

// Append to the population log in the staging folder. No answer unless it fails (OutputDone).
struct AppendPopulation {
  JobId job = 0;
  std::string lines;
  std::string part{};  // as in FinishOutput
};

// Take the files that `task` uploaded, make the padded copy, write these files in this order and
// commit the folder; answer with OutputDone.
//
// A job with several sizes has a folder for each within its own, committed one by one; `summary`
// is then written beside them anew each time.
struct FinishOutput {
  struct File {
    std::string name;
    std::string contents;
  };
  JobId job = 0;
  TaskId task = 0;
  std::shared_ptr<const Subnet> subnet;  // what the uploaded model must hold
  std::vector<File> files;
  std::string part{};  // the size's folder; empty: the job has one size, which is its result
  std::vector<File> summary{};
};

// The job ended: whatever is kept for it goes, an uncommitted folder too.
struct ReleaseJob {
  JobId job = 0;
};

struct PublishEvent {
  JobId job = 0;
  uint64_t number = 0;
  TimeMs time = 0;
  JobState state = JobState::kQueued;
  ProgressView progress;
  std::string message;
  ResultViews results{};  // all so far, when a size or the job has ended; else none
  std::string error;
};

// To be stored before anything that follows it is carried out.
struct RecordJob {
  JobId job = 0;
  std::shared_ptr<const JobSpec> spec;
  std::string idempotency_key;
  TimeMs created = 0;
};

struct RecordFact {
  JobId job = 0;
  JournalEntry entry;
};

// Of a candidate, to be stored for all jobs with this context (answer_book.h). What is stored
// already stays.
struct RecordAnswer {
  std::string context;
  std::string subnet;
  EvaluateResult answer;
};

// Answer with AnswersRecalled.
struct RecallAnswers {
  std::string context;
};

// The job, which is finished, is to be forgotten.
struct ForgetJob {
  JobId job = 0;
};

using Action =
    std::variant<RecordJob, RecordFact, RecordAnswer, RecallAnswers, ForgetJob, SendWelcome,
                 SendJoin, CloseWorker, DismissWorker, SendDataSet, SendTask, SendCancel, SendAck,
                 PrepareJob, AppendPopulation, FinishOutput, ReleaseJob, PublishEvent>;
using Actions = std::vector<Action>;

// One step of the brain: when it happens and where its actions go, in order.
struct Step {
  TimeMs now = 0;
  Actions* actions = nullptr;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_JOBS_ACTIONS_H_
