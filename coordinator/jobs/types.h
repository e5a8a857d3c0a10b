// The vocabulary of the coordinator's brain: what it hears (events) and what it shows (views); what
// it wants done is in actions.h. Plain data: no gRPC, files, clock or threads.
//
// Times are milliseconds on a clock that never goes back; its zero is the caller's choice.
#ifndef ESPALIER_COORDINATOR_JOBS_TYPES_H_
#define ESPALIER_COORDINATOR_JOBS_TYPES_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/importance.h"
#include "common/job_spec.h"
#include "common/model_config.h"
#include "common/model_digest.h"
#include "common/ranking.h"
#include "common/stage.h"
#include "common/subnet.h"

namespace espalier {

using TimeMs = int64_t;
using JobId = uint64_t;      // counts submissions from 1
using WorkerKey = uint64_t;  // one stream of one worker, from 1; the caller never uses a key twice
using TaskId = uint64_t;     // one attempt at one piece of work; never used twice
// Workers that hold one model together, each a stage of it, and work on each task together; most
// often a single one. The key is the replica's epoch: never used twice, it only grows.
using ReplicaKey = uint64_t;

inline constexpr ReplicaKey kNobody = 0;

// ---- Tasks ----

struct LoadWork {};

struct CalibrateWork {
  std::string data_set;  // hash
  double damping = 0;
  std::optional<CutSteps> steps{};  // set: rank the units too
  std::string predictions{};  // data set to keep the dense model's predictions on; empty: none
  ScoreKind scores = ScoreKind::kImportance;
};

// The loss of `subnet` on the sequences [first, first + count) of a data set.
struct EvaluateWork {
  std::shared_ptr<const Subnet> subnet;  // null: the dense model
  std::string data_set;
  int64_t first = 0;
  int64_t count = 0;
  ReformationSpec reformation{.method = ReformationMethod::kNone};
  std::string calibration;  // data set of the reformation
  bool divergence = false;  // from the dense model's predictions, too
};

struct ReformWork {
  std::shared_ptr<const Subnet> subnet;
  ReformationSpec reformation;
  std::string calibration;
};

struct ExportWork {
  std::shared_ptr<const Subnet> subnet;
  ReformationSpec reformation;
  std::string calibration;
};

using Work = std::variant<LoadWork, CalibrateWork, EvaluateWork, ReformWork, ExportWork>;

struct ModelRef {
  std::string path;
  Precision precision = Precision::kFloat32;
  std::string hash;  // empty: not known yet

  friend bool operator==(const ModelRef&, const ModelRef&) = default;
};

// ---- Results of tasks ----

// Of a stage; the others' results are put together by MergeOutcomes, this one by ModelHolders.
struct LoadResult {
  ModelDigest digest;
  int64_t weight_bytes = 0;
};

struct CalibrateResult {
  UnitScores scores;
  Ranking ranking{};  // empty unless asked for
};

struct EvaluateResult {
  std::vector<double> nll_sums;  // per sequence
  int64_t predictions_per_sequence = 0;
  std::vector<double> kl_sums{};  // per sequence; empty unless asked for
};

// Relative error of one linear on the calibration data, with inherited and with reformed weights.
struct LinearFit {
  int64_t layer = 0;
  bool mlp = false;
  double before = 0;
  double after = 0;
};

struct ReformResult {
  std::vector<LinearFit> errors;
};

struct ExportResult {
  int64_t bytes = 0;
};

using Outcome = std::variant<std::monostate, LoadResult, CalibrateResult, EvaluateResult,
                             ReformResult, ExportResult>;

// What a worker says of its work beside the outcome. Of several stages: times are the slowest
// one's, warnings those of all.
struct TaskNotes {
  double seconds = 0;      // the task's own computation
  double preparation = 0;  // repairs and reformations that it needed and that were not kept
  // What it went on in spite of, for people.
  std::vector<std::string> warnings{};
};

// ---- Events ----

struct WorkerInfo {
  std::string name;
  std::string device;
  std::string device_name;
  int64_t memory_bytes = 0;
  int32_t threads = 0;
  std::string version;
  std::string stage_address{};  // where other stages reach it; empty: it can only serve alone
};

struct WorkerAttached {
  WorkerKey worker = 0;
  WorkerInfo info;
};

// The stream broke.
struct WorkerLost {
  WorkerKey worker = 0;
  std::string reason;
};

// The worker said goodbye; what it had goes to others, without blame.
struct WorkerLeft {
  WorkerKey worker = 0;
  std::string reason;
};

struct WorkerHeartbeat {
  WorkerKey worker = 0;
  TaskId task = 0;  // 0: idle
  double progress = 0;
  std::string activity;
};

struct TaskFinished {
  WorkerKey worker = 0;
  TaskId task = 0;
  uint64_t epoch = 0;
  absl::Status status;  // OK: `outcome` holds the answer
  Outcome outcome;
  TaskNotes notes{};
};

struct DataSetInfo {
  std::string hash;
  int64_t sequence_length = 0;
  int64_t count = 0;  // sequences
};

// What preparing a job found out: the resolved specification, the model's shape, the texts.
struct PreparedJob {
  JobSpec spec;
  ModelConfig config;
  DataSetInfo calibration;
  DataSetInfo search;
  DataSetInfo eval;            // equal to `search` when there is no held-out text
  std::string text_hash;       // SHA-256 of the files' bytes
  std::string eval_text_hash;  // empty: none
};

struct JobPrepared {
  JobId job = 0;
  absl::StatusOr<PreparedJob> prepared = absl::UnknownError("not prepared");
};

// The result folder: its completion (the answer to FinishOutput), or any failure to write it.
struct OutputDone {
  JobId job = 0;
  absl::Status status;
};

// What the store has for a context (answer_book.h), by subnet.
struct AnswersRecalled {
  std::string context;
  std::vector<std::pair<std::string, EvaluateResult>> answers;
};

struct Tick {};

using Event = std::variant<WorkerAttached, WorkerLost, WorkerLeft, WorkerHeartbeat, TaskFinished,
                           JobPrepared, OutputDone, AnswersRecalled, Tick>;

// ---- Views ----

enum class JobState { kQueued, kRunning, kPaused, kSucceeded, kFailed, kCancelled };
bool IsFinal(JobState state);
using JobCounts = std::map<JobState, int64_t>;

enum class JobPhase { kLoad, kCalibrate, kInitialize, kSearch, kReform, kEvaluate, kExport };

struct ProgressView {
  JobPhase phase = JobPhase::kLoad;
  int64_t done = 0;
  int64_t total = 0;
  std::string unit;
  double units_per_second = 0;
  double eta_seconds = 0;
  double best_perplexity = 0;
  double ratio = 0;
  int64_t generation = 0;
  std::string waiting_for;
  int64_t size = 1;  // which of the job's sizes, from 1
  int64_t sizes = 1;
};

// One row of the closing table; 0 = not measured.
struct MeasurementView {
  int64_t parameters = 0;
  double ratio = 0;
  double perplexity = 0;
  double search_perplexity = 0;
  double tokens_per_second = 0;
};

// What the time of all replicas went to.
struct WorkSeconds {
  double statistics = 0;  // calibration and what follows from it
  double repair = 0;      // of candidates
  double evaluation = 0;
  double reformation = 0;
  double export_ = 0;
};

// Of one size.
struct ResultView {
  MeasurementView dense;
  MeasurementView initial;
  MeasurementView searched;
  MeasurementView reformed;
  std::string output;
  bool held_out = false;
  int64_t candidates = 0;
  double seconds = 0;
  WorkSeconds work{};
  std::vector<std::string> warnings{};  // of the job so far
};
using ResultViews = std::vector<std::shared_ptr<const ResultView>>;

struct JobView {
  JobId id = 0;
  JobState state = JobState::kQueued;
  ProgressView progress;
  std::string error;
  ResultViews results{};  // of the sizes that are finished, in their order
  TimeMs created = 0;
  TimeMs finished = 0;
  std::shared_ptr<const JobSpec> spec;
};

struct WorkerView {
  uint64_t number = 0;  // "worker-<number>"
  int64_t stage = 0;    // its place in its replica
  int64_t stages = 1;
  WorkerInfo info;
  std::string activity;
  double progress = 0;
  int64_t tasks_done = 0;
  bool draining = false;  // it gets no new tasks
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_JOBS_TYPES_H_
