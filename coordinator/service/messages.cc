#include "coordinator/service/messages.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/utf8.h"
#include "proto/statistics_messages.h"

namespace espalier {
namespace {

void WriteMasks(const std::shared_ptr<const Subnet>& subnet, const StageRange& stage,
                v1::SubnetMasks* message) {
  if (subnet == nullptr) return;  // no layers: dense
  for (int64_t i = stage.first; i < stage.end(); ++i) {
    const LayerMask& layer = subnet->layers[i];
    v1::LayerMasks* masks = message->add_layers();
    for (const Bitmask& group : layer.attention) masks->add_attention(group.bytes());
    masks->set_mlp(layer.mlp.bytes());
  }
}

void WriteReformation(const ReformationSpec& spec, const std::string& calibration,
                      v1::ReformationOptions* message) {
  switch (spec.method) {
    case ReformationMethod::kNone:
      message->set_method("none");
      return;
    case ReformationMethod::kClosedForm:
      message->set_method("closed_form");
      break;
    case ReformationMethod::kAdmm:
      message->set_method("admm");
      break;
    case ReformationMethod::kBias:
      message->set_method("bias");
      break;
    case ReformationMethod::kProjected:
      message->set_method("projected");
      break;
    case ReformationMethod::kProgressive:
    case ReformationMethod::kAuto:  // resolved before any work is given out
      message->set_method("progressive");
      break;
  }
  message->set_damping(spec.damping);
  message->set_rho(spec.rho);
  message->set_iterations(spec.iterations);
  message->set_progressive_damping(spec.progressive_damping);
  message->set_input_damping(spec.input_damping);
  message->set_calibration(calibration);
}

void WriteWork(const LoadWork&, const StageRange&, v1::Task* task) { task->mutable_load(); }
void WriteWork(const CalibrateWork& work, const StageRange&, v1::Task* task) {
  task->mutable_calibrate()->set_data_set(work.data_set);
  task->mutable_calibrate()->set_damping(work.damping);
  task->mutable_calibrate()->set_predictions(work.predictions);
  task->mutable_calibrate()->set_scores(ToMessage(work.scores));
  if (!work.steps.has_value()) return;
  task->mutable_calibrate()->set_channel_step(work.steps->channels);
  task->mutable_calibrate()->set_pair_step(work.steps->pairs);
}
void WriteWork(const EvaluateWork& work, const StageRange& stage, v1::Task* task) {
  v1::EvaluateTask* evaluate = task->mutable_evaluate();
  WriteMasks(work.subnet, stage, evaluate->mutable_subnet());
  evaluate->set_data_set(work.data_set);
  evaluate->set_first_sequence(work.first);
  evaluate->set_sequence_count(work.count);
  evaluate->set_divergence(work.divergence);
  WriteReformation(work.reformation, work.calibration, evaluate->mutable_reformation());
}
void WriteWork(const ReformWork& work, const StageRange& stage, v1::Task* task) {
  WriteMasks(work.subnet, stage, task->mutable_reform()->mutable_subnet());
  WriteReformation(work.reformation, work.calibration,
                   task->mutable_reform()->mutable_reformation());
}
void WriteWork(const ExportWork& work, const StageRange&, v1::Task* task) {
  const StageRange all{0, static_cast<int64_t>(work.subnet->layers.size())};
  WriteMasks(work.subnet, all, task->mutable_export_()->mutable_subnet());
  WriteReformation(work.reformation, work.calibration,
                   task->mutable_export_()->mutable_reformation());
}

v1::JobState StateMessage(JobState state) {
  switch (state) {
    case JobState::kQueued:
      return v1::JOB_STATE_QUEUED;
    case JobState::kRunning:
      return v1::JOB_STATE_RUNNING;
    case JobState::kPaused:
      return v1::JOB_STATE_PAUSED;
    case JobState::kSucceeded:
      return v1::JOB_STATE_SUCCEEDED;
    case JobState::kFailed:
      return v1::JOB_STATE_FAILED;
    case JobState::kCancelled:
      return v1::JOB_STATE_CANCELLED;
  }
  return v1::JOB_STATE_UNSPECIFIED;
}

v1::JobPhase PhaseMessage(JobPhase phase) {
  switch (phase) {
    case JobPhase::kLoad:
      return v1::JOB_PHASE_LOAD;
    case JobPhase::kCalibrate:
      return v1::JOB_PHASE_CALIBRATE;
    case JobPhase::kInitialize:
      return v1::JOB_PHASE_INITIALIZE;
    case JobPhase::kSearch:
      return v1::JOB_PHASE_SEARCH;
    case JobPhase::kReform:
      return v1::JOB_PHASE_REFORM;
    case JobPhase::kEvaluate:
      return v1::JOB_PHASE_EVALUATE;
    case JobPhase::kExport:
      return v1::JOB_PHASE_EXPORT;
  }
  return v1::JOB_PHASE_UNSPECIFIED;
}

void WriteProgress(const ProgressView& view, v1::Progress* message) {
  message->set_phase(PhaseMessage(view.phase));
  message->set_done(view.done);
  message->set_total(view.total);
  message->set_unit(view.unit);
  message->set_units_per_second(view.units_per_second);
  message->set_eta_seconds(view.eta_seconds);
  message->set_best_perplexity(view.best_perplexity);
  message->set_ratio(view.ratio);
  message->set_generation(view.generation);
  message->set_waiting_for(view.waiting_for);
  message->set_size(view.size);
  message->set_sizes(view.sizes);
}

void WriteMeasurement(const MeasurementView& view, v1::Measurement* message) {
  message->set_parameters(view.parameters);
  message->set_ratio(view.ratio);
  message->set_perplexity(view.perplexity);
  message->set_search_perplexity(view.search_perplexity);
  message->set_tokens_per_second(view.tokens_per_second);
}

void WriteResult(const ResultView& view, v1::Result* message) {
  WriteMeasurement(view.dense, message->mutable_dense());
  WriteMeasurement(view.initial, message->mutable_initial());
  WriteMeasurement(view.searched, message->mutable_searched());
  WriteMeasurement(view.reformed, message->mutable_reformed());
  message->set_output(Utf8(view.output));
  message->set_held_out(view.held_out);
  message->set_candidates(view.candidates);
  message->set_seconds(view.seconds);
}

JobPhase PhaseFromMessage(v1::JobPhase phase) {
  for (const JobPhase known : {JobPhase::kCalibrate, JobPhase::kInitialize, JobPhase::kSearch,
                               JobPhase::kReform, JobPhase::kEvaluate, JobPhase::kExport}) {
    if (PhaseMessage(known) == phase) return known;
  }
  return JobPhase::kLoad;
}

MeasurementView MeasurementFromMessage(const v1::Measurement& message) {
  return {.parameters = message.parameters(),
          .ratio = message.ratio(),
          .perplexity = message.perplexity(),
          .search_perplexity = message.search_perplexity(),
          .tokens_per_second = message.tokens_per_second()};
}

void Write(const std::monostate&, v1::TaskResult*) {}
void Write(const LoadResult& outcome, v1::TaskResult* result) {
  v1::LoadOutcome* message = result->mutable_load();
  message->set_weight_bytes(outcome.weight_bytes);
  message->set_description(outcome.digest.description);
  for (const auto& [name, hash] : outcome.digest.tensors) {
    v1::TensorDigest* tensor = message->add_tensors();
    tensor->set_name(name);
    tensor->set_sha256(hash);
  }
}
void Write(const CalibrateResult& outcome, v1::TaskResult* result) {
  WriteUnitScores(outcome.scores, result->mutable_calibrate());
  WriteRanking(outcome.ranking, result->mutable_calibrate());
}
void Write(const EvaluateResult& outcome, v1::TaskResult* result) {
  v1::EvaluateOutcome* message = result->mutable_evaluate();
  message->mutable_nll_sums()->Add(outcome.nll_sums.begin(), outcome.nll_sums.end());
  message->set_predictions_per_sequence(outcome.predictions_per_sequence);
  message->mutable_kl_sums()->Add(outcome.kl_sums.begin(), outcome.kl_sums.end());
}
void Write(const ReformResult& outcome, v1::TaskResult* result) {
  v1::ReformOutcome* message = result->mutable_reform();
  for (const LinearFit& fit : outcome.errors) {
    v1::LinearError* error = message->add_errors();
    error->set_layer(fit.layer);
    error->set_mlp(fit.mlp);
    error->set_before(fit.before);
    error->set_after(fit.after);
  }
}
void Write(const ExportResult& outcome, v1::TaskResult* result) {
  result->mutable_export_()->set_bytes(outcome.bytes);
}

}  // namespace

std::string Utf8(std::string text) {
  while (const std::optional<size_t> invalid = InvalidUtf8Offset(text)) text[*invalid] = '?';
  return text;
}

Outcome OutcomeFromMessage(const v1::TaskResult& result) {
  switch (result.outcome_case()) {
    case v1::TaskResult::kLoad: {
      LoadResult load{.digest = {.description = result.load().description(), .tensors = {}},
                      .weight_bytes = result.load().weight_bytes()};
      for (const v1::TensorDigest& tensor : result.load().tensors()) {
        load.digest.tensors[tensor.name()] = tensor.sha256();
      }
      return load;
    }
    case v1::TaskResult::kCalibrate: {
      CalibrateResult calibrate;
      calibrate.scores = UnitScoresFromMessage(result.calibrate());
      calibrate.ranking = RankingFromMessage(result.calibrate());
      return calibrate;
    }
    case v1::TaskResult::kEvaluate: {
      const v1::EvaluateOutcome& message = result.evaluate();
      return EvaluateResult{.nll_sums = {message.nll_sums().begin(), message.nll_sums().end()},
                            .predictions_per_sequence = message.predictions_per_sequence(),
                            .kl_sums = {message.kl_sums().begin(), message.kl_sums().end()}};
    }
    case v1::TaskResult::kReform: {
      ReformResult reform;
      for (const v1::LinearError& error : result.reform().errors()) {
        reform.errors.push_back({.layer = error.layer(),
                                 .mlp = error.mlp(),
                                 .before = error.before(),
                                 .after = error.after()});
      }
      return reform;
    }
    case v1::TaskResult::kExport:
      return ExportResult{.bytes = result.export_().bytes()};
    case v1::TaskResult::OUTCOME_NOT_SET:
      return std::monostate();
  }
  return std::monostate();
}

void WriteOutcome(const Outcome& outcome, v1::TaskResult* result) {
  std::visit([result](const auto& o) { Write(o, result); }, outcome);
}

JobState StateFromMessage(v1::JobState state) {
  for (const JobState known : {JobState::kRunning, JobState::kPaused, JobState::kSucceeded,
                               JobState::kFailed, JobState::kCancelled}) {
    if (StateMessage(known) == state) return known;
  }
  return JobState::kQueued;
}

ProgressView ProgressFromMessage(const v1::Progress& message) {
  return {.phase = PhaseFromMessage(message.phase()),
          .done = message.done(),
          .total = message.total(),
          .unit = message.unit(),
          .units_per_second = message.units_per_second(),
          .eta_seconds = message.eta_seconds(),
          .best_perplexity = message.best_perplexity(),
          .ratio = message.ratio(),
          .generation = message.generation(),
          .waiting_for = message.waiting_for(),
          // Events of older coordinators do not say.
          .size = std::max<int64_t>(1, message.size()),
          .sizes = std::max<int64_t>(1, message.sizes())};
}

ResultView ResultFromMessage(const v1::Result& message) {
  return {.dense = MeasurementFromMessage(message.dense()),
          .initial = MeasurementFromMessage(message.initial()),
          .searched = MeasurementFromMessage(message.searched()),
          .reformed = MeasurementFromMessage(message.reformed()),
          .output = message.output(),
          .held_out = message.held_out(),
          .candidates = message.candidates(),
          .seconds = message.seconds()};
}

std::string JobName(JobId job) { return absl::StrCat("job-", job); }

namespace {

absl::StatusOr<uint64_t> ParseName(const std::string& name, const std::string& kind) {
  uint64_t number = 0;
  absl::string_view digits = name;
  if (absl::ConsumePrefix(&digits, kind + "-") && absl::SimpleAtoi(digits, &number) &&
      absl::StrCat(kind, "-", number) == name) {
    return number;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", Utf8(name), "\" is no ", kind, " id; ids look like ", kind, "-1"));
}

}  // namespace

absl::StatusOr<JobId> ParseJobName(const std::string& name) { return ParseName(name, "job"); }

absl::StatusOr<uint64_t> ParseWorkerName(const std::string& name) {
  return ParseName(name, "worker");
}

WorkerInfo InfoFromMessage(const v1::Hello& hello) {
  return {.name = hello.name(),
          .device = hello.device(),
          .device_name = hello.device_name(),
          .memory_bytes = hello.memory_bytes(),
          .threads = hello.threads(),
          .version = hello.version(),
          .stage_address = hello.stage_address()};
}

WorkerHeartbeat HeartbeatFromMessage(WorkerKey worker, const v1::Heartbeat& heartbeat) {
  return {.worker = worker,
          .task = heartbeat.task_id(),
          .progress = heartbeat.progress(),
          .activity = heartbeat.activity()};
}

TaskNotes NotesFromMessage(const v1::TaskResult& result) {
  return {.seconds = result.seconds(),
          .preparation = result.preparation_seconds(),
          .warnings = {result.warnings().begin(), result.warnings().end()}};
}

TaskFinished ResultFromMessage(WorkerKey worker, const v1::TaskResult& result) {
  TaskFinished event;
  event.worker = worker;
  event.task = result.task_id();
  event.epoch = result.epoch();
  event.notes = NotesFromMessage(result);
  event.outcome = OutcomeFromMessage(result);
  const auto code = static_cast<absl::StatusCode>(result.error().code());
  if (result.has_error() && code != absl::StatusCode::kOk) {
    event.status = absl::Status(code, result.error().message());
  } else if (result.outcome_case() == v1::TaskResult::OUTCOME_NOT_SET) {
    event.status = absl::InvalidArgumentError("malformed answer: neither an outcome nor an error");
  }
  return event;
}

v1::CoordinatorMessage TaskMessage(const SendTask& action) {
  v1::CoordinatorMessage message;
  v1::Task* task = message.mutable_task();
  task->set_id(action.task);
  task->set_epoch(action.epoch);
  task->set_job_id(JobName(action.job));
  task->mutable_model()->set_path(Utf8(action.model.path));
  task->mutable_model()->set_precision(std::string(PrecisionName(action.model.precision)));
  task->mutable_model()->set_hash(action.model.hash);
  task->mutable_model()->set_first_layer(action.stage.first);
  task->mutable_model()->set_layers(action.stage.count);
  std::visit([&](const auto& work) { WriteWork(work, action.stage, task); }, action.work);
  return message;
}

v1::CoordinatorMessage JoinMessage(const SendJoin& action, const std::string& secret) {
  v1::CoordinatorMessage message;
  v1::JoinReplica* join = message.mutable_join();
  join->set_epoch(action.epoch);
  join->set_stage(static_cast<int32_t>(action.stage));
  for (const std::string& address : action.stage_addresses) join->add_stage_addresses(address);
  join->set_secret(secret);
  return message;
}

v1::CoordinatorMessage DataSetMessage(const TokenSequences& sequences) {
  v1::CoordinatorMessage message;
  v1::DataSet* data_set = message.mutable_data_set();
  data_set->set_hash(sequences.hash);
  data_set->set_sequence_length(sequences.sequence_length);
  data_set->mutable_tokens()->Add(sequences.tokens.begin(), sequences.tokens.end());
  return message;
}

v1::Job JobMessage(const JobView& view, int64_t unix_ms) {
  v1::Job message;
  message.set_id(JobName(view.id));
  message.set_name(Utf8(view.spec->name));
  message.set_state(StateMessage(view.state));
  WriteProgress(view.progress, message.mutable_progress());
  message.set_error(Utf8(view.error));
  for (const auto& result : view.results) WriteResult(*result, message.add_results());
  message.set_created_unix_ms(unix_ms + view.created);
  if (IsFinal(view.state)) message.set_finished_unix_ms(unix_ms + view.finished);
  message.set_spec_yaml(Utf8(JobSpecToYaml(*view.spec)));
  message.set_output(Utf8(view.spec->output));
  return message;
}

v1::JobEvent EventMessage(const PublishEvent& event, int64_t unix_ms) {
  v1::JobEvent message;
  message.set_number(event.number);
  message.set_unix_ms(unix_ms + event.time);
  message.set_state(StateMessage(event.state));
  WriteProgress(event.progress, message.mutable_progress());
  message.set_message(Utf8(event.message));
  for (const auto& result : event.results) WriteResult(*result, message.add_results());
  message.set_error(Utf8(event.error));
  return message;
}

v1::Worker WorkerMessage(const WorkerView& view) {
  v1::Worker message;
  message.set_id(absl::StrCat("worker-", view.number));
  message.set_name(view.info.name);
  message.set_device(view.info.device);
  message.set_device_name(view.info.device_name);
  message.set_memory_bytes(view.info.memory_bytes);
  message.set_activity(view.activity);
  message.set_progress(view.progress);
  message.set_tasks_done(view.tasks_done);
  message.set_stage(static_cast<int32_t>(view.stage));
  message.set_stages(static_cast<int32_t>(view.stages));
  message.set_draining(view.draining);
  return message;
}

}  // namespace espalier
