#include "worker/service/task_executor.h"

#include <exception>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/model_folder.h"
#include "common/status_macros.h"
#include "proto/statistics_messages.h"
#include "worker/service/export_model.h"
#include "worker/service/messages.h"

namespace espalier {

namespace {

absl::StatusOr<Subnet> StageMasks(const v1::SubnetMasks& masks, const Engine& engine) {
  return SubnetFromMessage(masks, StageConfig(engine.config(), engine.stage()), engine.resident());
}

}  // namespace

TaskExecutor::TaskExecutor(Options options)
    : options_(std::move(options)),
      models_({.device = options_.device, .threads = options_.threads, .scratch = options_.scratch},
              options_.loader, options_.model_roots) {}

v1::TaskResult TaskExecutor::Execute(const v1::Task& task, TaskControl* control) {
  v1::TaskResult result;
  absl::Status status;
  // The engine and our own code throw nothing, but a task must never take the worker down.
  try {
    status = Dispatch(task, control, &result);
  } catch (const std::bad_alloc&) {
    status = absl::ResourceExhaustedError("the worker's host has no memory left for this task");
  } catch (const std::exception& e) {
    status = absl::InternalError(absl::StrCat("the worker failed unexpectedly: ", e.what()));
  }
  if (!status.ok()) {
    result.Clear();
    WriteError(control->cancelled() ? absl::CancelledError("the task was cancelled") : status,
               &result);
  }
  result.set_task_id(task.id());
  result.set_epoch(task.epoch());
  for (std::string& text : control->warnings()) result.add_warnings(std::move(text));
  return result;
}

absl::Status TaskExecutor::Dispatch(const v1::Task& task, TaskControl* control,
                                    v1::TaskResult* result) {
  ESPALIER_RETURN_IF_ERROR(control->CheckCancelled());
  if (task.work_case() == v1::Task::WORK_NOT_SET) {
    return absl::InvalidArgumentError(
        "the task says nothing to do; the coordinator is of another "
        "version, use the same build everywhere");
  }
  LoadedModel* model = nullptr;
  // The time stands for a LoadTask; the other tasks' own times replace it.
  ESPALIER_RETURN_IF_ERROR(Timed(result, [&]() -> absl::Status {
    ESPALIER_ASSIGN_OR_RETURN(model, models_.Get(task.model(), control));
    return absl::OkStatus();
  }));
  ESPALIER_ASSIGN_OR_RETURN(const std::shared_ptr<Transport> transport,
                            options_.transport(task.epoch(), control->cancelled_flag()));
  const Pipeline pipeline{.transport = transport.get(), .task = task.id()};
  switch (task.work_case()) {
    case v1::Task::kLoad:
      WriteDigest(model->digest(), result->mutable_load());
      result->mutable_load()->set_weight_bytes(model->engine().memory().weights);
      return absl::OkStatus();
    case v1::Task::kCalibrate:
      return Calibrate(task.calibrate(), pipeline, model, control, result);
    case v1::Task::kEvaluate:
      return Evaluate(task.evaluate(), pipeline, model, control, result);
    case v1::Task::kReform:
      return Reform(task.reform(), pipeline, model, control, result);
    case v1::Task::kExport:
      return Export(task, pipeline, model, control, result);
    case v1::Task::WORK_NOT_SET:
      break;
  }
  return absl::InternalError("unreachable: the kind of task was checked above");
}

absl::Status TaskExecutor::Calibrate(const v1::CalibrateTask& task, const Pipeline& pipeline,
                                     LoadedModel* model, TaskControl* control,
                                     v1::TaskResult* result) {
  ESPALIER_ASSIGN_OR_RETURN(const auto sequences, options_.data_sets->Get(task.data_set()));
  ESPALIER_ASSIGN_OR_RETURN(const ScoreKind kind, ScoreKindFromMessage(task.scores()));
  control->SetActivity(absl::StrCat("calibrating on ", sequences->count(), " sequences"));
  std::shared_ptr<const TokenSequences> to_predict;
  if (!task.predictions().empty()) {
    ESPALIER_ASSIGN_OR_RETURN(to_predict, options_.data_sets->Get(task.predictions()));
  }
  LoadedModel::OrdersKey key{
      .data_set = sequences->hash, .scores = kind, .damping = task.damping(), .steps = {}};
  if (task.channel_step() > 0) {
    key.steps = CutSteps{.channels = task.channel_step(), .pairs = task.pair_step()};
  }
  // Of the time, by which what remains is estimated: a token takes about as long in both passes,
  // scores and rankings about a tenth of both.
  constexpr double kPasses = 0.9;
  const int64_t predicted = to_predict == nullptr ? 0 : to_predict->tokens.size();
  const double calibrated =
      kPasses * sequences->tokens.size() / (sequences->tokens.size() + predicted);
  std::shared_ptr<const LoadedModel::UnitOrders> orders;
  ESPALIER_RETURN_IF_ERROR(Timed(result, [&]() -> absl::Status {
    ESPALIER_ASSIGN_OR_RETURN(const auto calibration,
                              model->Calibrate(*sequences, control->Part(0, calibrated), pipeline));
    if (to_predict != nullptr) {
      control->SetActivity("predicting with the dense model");
      ESPALIER_RETURN_IF_ERROR(
          model->Predict(*to_predict, control->Part(calibrated, kPasses), pipeline.Call(1))
              .status());
    }
    ESPALIER_ASSIGN_OR_RETURN(orders, model->Orders(*calibration, key, control, kPasses, 1));
    return absl::OkStatus();
  }));
  WriteUnitScores(orders->scores, result->mutable_calibrate());
  WriteRanking(orders->ranking, result->mutable_calibrate());
  return absl::OkStatus();
}

absl::Status TaskExecutor::Evaluate(const v1::EvaluateTask& task, const Pipeline& pipeline,
                                    LoadedModel* model, TaskControl* control,
                                    v1::TaskResult* result) {
  ESPALIER_ASSIGN_OR_RETURN(const auto all, options_.data_sets->Get(task.data_set()));
  ESPALIER_ASSIGN_OR_RETURN(const TokenSequences sequences,
                            SubRange(*all, task.first_sequence(), task.sequence_count()));
  ESPALIER_ASSIGN_OR_RETURN(Subnet subnet, StageMasks(task.subnet(), model->engine()));
  ESPALIER_ASSIGN_OR_RETURN(
      const Candidate candidate,
      Prepare(std::move(subnet), task.reformation(), 0.5, pipeline, model, control));
  result->set_preparation_seconds(candidate.seconds);
  EvaluationOptions evaluation{.reformed = candidate.reformation.weights.get(),
                               .first = task.first_sequence()};
  std::shared_ptr<const Predictions> dense;
  if (task.divergence()) {
    ESPALIER_ASSIGN_OR_RETURN(dense, model->PredictionsOn(all->hash));
    evaluation.dense = dense.get();
  }
  control->SetActivity(absl::StrCat("scoring a subnet on ", sequences.count(), " sequences"));
  std::vector<SequenceLoss> losses;
  ESPALIER_RETURN_IF_ERROR(Timed(result, [&]() -> absl::Status {
    ESPALIER_ASSIGN_OR_RETURN(
        losses, model->engine().Evaluate(candidate.subnet, sequences, evaluation,
                                         control->Part(candidate.begin, 1), pipeline.Call(2)));
    return absl::OkStatus();
  }));
  return WriteLosses(losses, task.divergence(), result->mutable_evaluate());
}

absl::Status TaskExecutor::Reform(const v1::ReformTask& task, const Pipeline& pipeline,
                                  LoadedModel* model, TaskControl* control,
                                  v1::TaskResult* result) {
  Candidate candidate;
  ESPALIER_RETURN_IF_ERROR(Timed(result, [&]() -> absl::Status {
    ESPALIER_ASSIGN_OR_RETURN(Subnet subnet, StageMasks(task.subnet(), model->engine()));
    ESPALIER_ASSIGN_OR_RETURN(
        candidate, Prepare(std::move(subnet), task.reformation(), 1, pipeline, model, control));
    return absl::OkStatus();
  }));
  WriteReformationErrors(candidate.reformation.errors, result->mutable_reform());
  return absl::OkStatus();
}

absl::Status TaskExecutor::Export(const v1::Task& task, const Pipeline& pipeline,
                                  LoadedModel* model, TaskControl* control,
                                  v1::TaskResult* result) {
  const Engine& engine = model->engine();
  ESPALIER_ASSIGN_OR_RETURN(
      const Subnet whole,
      SubnetFromMessage(task.export_().subnet(), engine.config(), Subnet::Dense(engine.config())));
  ESPALIER_ASSIGN_OR_RETURN(const Candidate candidate,
                            Prepare(StageSubnet(whole, engine.stage()),
                                    task.export_().reformation(), 0.5, pipeline, model, control));
  result->set_preparation_seconds(candidate.seconds);
  const int stage = pipeline.transport == nullptr ? 0 : pipeline.transport->rank();
  const ModelConfig config = ReformedConfig(engine.config(), candidate.biases);
  int64_t bytes = 0;
  ESPALIER_RETURN_IF_ERROR(Timed(result, [&]() -> absl::Status {
    ESPALIER_ASSIGN_OR_RETURN(
        bytes, ExportModel(task, stage, whole, config, candidate.reformation.weights.get(),
                           candidate.begin, model, options_.artifacts, control));
    return absl::OkStatus();
  }));
  result->mutable_export_()->set_bytes(bytes);
  return absl::OkStatus();
}

absl::StatusOr<TaskExecutor::Candidate> TaskExecutor::Prepare(
    Subnet subnet, const v1::ReformationOptions& reformation, double share,
    const Pipeline& pipeline, LoadedModel* model, TaskControl* control) {
  Candidate candidate;
  candidate.subnet = std::move(subnet);
  ESPALIER_ASSIGN_OR_RETURN(const ReformationSpec spec, ReformationFromMessage(reformation));
  if (spec.method == ReformationMethod::kNone) return candidate;
  candidate.biases = spec.method == ReformationMethod::kBias;
  ESPALIER_ASSIGN_OR_RETURN(const auto calibration,
                            options_.data_sets->Get(reformation.calibration()));
  ESPALIER_ASSIGN_OR_RETURN(
      const bool there,
      model->IsReformed(candidate.subnet, spec, calibration->hash, pipeline, control->Part(0, 0)));
  if (!there) candidate.begin = share;
  const auto start = options_.now();
  ESPALIER_ASSIGN_OR_RETURN(candidate.reformation,
                            model->Reform(candidate.subnet, spec, *calibration, there,
                                          pipeline.Call(1), control, 0, candidate.begin));
  candidate.seconds = SecondsSince(start);
  return candidate;
}

absl::Status TaskExecutor::Timed(v1::TaskResult* result,
                                 const std::function<absl::Status()>& work) {
  const auto start = options_.now();
  absl::Status status = work();
  result->set_seconds(SecondsSince(start));
  return status;
}

double TaskExecutor::SecondsSince(std::chrono::steady_clock::time_point start) const {
  return std::chrono::duration<double>(options_.now() - start).count();
}

}  // namespace espalier
