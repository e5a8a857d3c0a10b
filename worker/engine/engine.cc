#include "worker/engine/engine.h"

#include <ATen/ops/cat.h>

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/model_folder.h"
#include "common/status_macros.h"
#include "worker/engine/backend.h"
#include "worker/engine/boundary.h"
#include "worker/engine/compact_export.h"
#include "worker/engine/final_norm.h"
#include "worker/engine/input_checks.h"
#include "worker/engine/progressive_reformation.h"
#include "worker/engine/resident_model.h"
#include "worker/engine/stage_runner.h"
#include "worker/engine/statistics.h"
#include "worker/engine/statistics_collector.h"

namespace espalier {
namespace {

class ResidentEngine : public Engine {
 public:
  ResidentEngine(ModelFolder folder, ResidentModel model, const EngineOptions& options)
      : folder_(std::move(folder)),
        model_(std::move(model)),
        stage_{model_.first_layer, model_.config.num_layers},
        scratch_(options.scratch),
        pool_(model_.device.is_cpu() ? options.threads : 1),
        backend_(model_.device.is_cpu() ? MakeCpuBackend(&pool_) : MakeTensorBackend()) {}

  const ModelConfig& config() const override { return folder_.config; }
  StageRange stage() const override { return stage_; }
  const Subnet& resident() const override { return model_.subnet; }
  EngineMemory memory() const override {
    return {model_.bytes(), backend_->scratch_bytes(), backend_->activation_bytes()};
  }

  absl::StatusOr<std::vector<SequenceLoss>> Evaluate(const Subnet& subnet,
                                                     const TokenSequences& sequences,
                                                     const EvaluationOptions& options,
                                                     const Control& control,
                                                     const Pipeline& pipeline) override;
  absl::StatusOr<std::shared_ptr<const Predictions>> Predict(const TokenSequences& sequences,
                                                             const Control& control,
                                                             const Pipeline& pipeline) override;
  absl::StatusOr<std::shared_ptr<const Calibration>> Calibrate(const TokenSequences& sequences,
                                                               const Control& control,
                                                               const Pipeline& pipeline) override;
  absl::StatusOr<UnitScores> Importance(const Calibration& calibration, double damping,
                                        const Control& control) override;
  absl::StatusOr<UnitScores> BaselineScores(const Calibration& calibration, ScoreKind kind,
                                            const Control& control) override;
  absl::StatusOr<Ranking> Rank(const Calibration& calibration, const CutSteps& steps,
                               const Control& control) override;
  absl::StatusOr<Reformation> Reform(const Calibration& calibration, const Subnet& subnet,
                                     const ReformationSpec& options,
                                     const Control& control) override;
  absl::StatusOr<Reformation> ReformProgressively(
      const Calibration& calibration, const Subnet& subnet, const ReformationSpec& options,
      const TokenSequences& sequences, const Control& control, const Pipeline& pipeline) override;
  absl::StatusOr<bool> AllStages(bool yes, const Control& control,
                                 const Pipeline& pipeline) override;
  absl::Status ExportCompact(const Subnet& subnet, const ReformedWeights* reformed, DType dtype,
                             const ByteSink& sink, const Control& control) override;

 private:
  bool IsDense() const { return !folder_.masks.has_value(); }
  absl::Status CheckDense(const std::string& what) const;
  absl::Status CheckSubnet(const Subnet& subnet) const;
  absl::Status CheckPipeline(const Pipeline& pipeline) const;
  absl::Status CheckPredictions(const TokenSequences& sequences,
                                const EvaluationOptions& options) const;
  std::vector<LayerSelection> Select(const Subnet& subnet, const ReformedWeights* reformed) const;
  const at::Tensor& FinalNorm(const ReformedWeights* reformed) const {
    const bool replaced = reformed != nullptr && reformed->final_norm.defined();
    return replaced ? reformed->final_norm : model_.final_norm;
  }

  bool first_stage() const { return HoldsEmbedding(stage_); }
  bool last_stage() const { return HoldsHead(stage_, folder_.config); }
  StageRunner Runner(const Control& control, const Pipeline& pipeline) const {
    return {model_, backend_.get(), {first_stage(), last_stage()}, control, pipeline};
  }

  ModelFolder folder_;
  ResidentModel model_;
  const StageRange stage_;
  const std::string scratch_;  // as EngineOptions
  ThreadPool pool_;
  std::unique_ptr<Backend> backend_;
};

absl::Status ResidentEngine::CheckDense(const std::string& what) const {
  if (IsDense()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(folder_.path.string(), ": ", what,
                                                    " needs the dense model, and this is a "
                                                    "compact one"));
}

absl::Status ResidentEngine::CheckSubnet(const Subnet& subnet) const {
  ESPALIER_RETURN_IF_ERROR(ValidateSubnet(subnet, model_.config));
  if (IsDense() || subnet == model_.subnet) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(folder_.path.string(),
                   ": a compact model holds one subnet only; give masks with the dense model"));
}

absl::Status ResidentEngine::CheckPipeline(const Pipeline& pipeline) const {
  if (first_stage() && last_stage()) return absl::OkStatus();
  if (pipeline.transport != nullptr && (pipeline.transport->rank() == 0) == first_stage() &&
      (pipeline.transport->rank() + 1 == pipeline.transport->size()) == last_stage()) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat(folder_.path.string(), ": the layers ", stage_.first, " to ", stage_.end() - 1,
                   " are part of a model, and their place among its stages was not given"));
}

std::vector<LayerSelection> ResidentEngine::Select(const Subnet& subnet,
                                                   const ReformedWeights* reformed) const {
  std::vector<LayerSelection> selections;
  for (size_t i = 0; i < model_.layers.size(); ++i) {
    selections.push_back(SelectLayer(subnet.layers[i], model_.subnet.layers[i], model_.config));
    if (reformed == nullptr) continue;
    selections.back().weights = reformed->layers[i];
  }
  return selections;
}

absl::StatusOr<bool> ResidentEngine::AllStages(bool yes, const Control& control,
                                               const Pipeline& pipeline) {
  ESPALIER_RETURN_IF_ERROR(CheckPipeline(pipeline));
  return WithoutExceptions("agreeing with the other stages",
                           [&] { return Runner(control, pipeline).AllStages(yes); });
}

absl::StatusOr<std::vector<SequenceLoss>> ResidentEngine::Evaluate(const Subnet& subnet,
                                                                   const TokenSequences& sequences,
                                                                   const EvaluationOptions& options,
                                                                   const Control& control,
                                                                   const Pipeline& pipeline) {
  ESPALIER_RETURN_IF_ERROR(CheckPipeline(pipeline));
  ESPALIER_RETURN_IF_ERROR(CheckSubnet(subnet));
  ESPALIER_RETURN_IF_ERROR(CheckTokens(sequences, model_.config.vocab_size));
  ESPALIER_RETURN_IF_ERROR(CheckPredictions(sequences, options));
  const int64_t length = sequences.sequence_length;
  std::vector<SequenceLoss> losses;
  const auto finish = [&](const StageRunner::Batch& batch) {
    DenseRows dense;
    if (options.dense != nullptr) {
      const int64_t row = (options.first + batch.first) * length;
      dense = {options.dense->rows.expected.narrow(0, row, batch.count * length),
               options.dense->rows.entropy.narrow(0, row, batch.count * length)};
    }
    for (const LossSums& sums :
         backend_->Losses(model_, FinalNorm(options.reformed), batch.x, batch.tokens, batch.count,
                          length, options.dense != nullptr ? &dense : nullptr)) {
      losses.push_back({sums.nll, length - 1, sums.kl});
    }
  };
  ESPALIER_RETURN_IF_ERROR(WithoutExceptions("evaluating a subnet", [&] {
    return Runner(control, pipeline)
        .Run(Select(subnet, options.reformed), sequences, nullptr, finish);
  }));
  return losses;
}

absl::Status ResidentEngine::CheckPredictions(const TokenSequences& sequences,
                                              const EvaluationOptions& options) const {
  if (options.dense == nullptr || !last_stage()) return absl::OkStatus();
  const Predictions& dense = *options.dense;
  if (dense.length == sequences.sequence_length && options.first >= 0 &&
      options.first + sequences.count() <= dense.sequences) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the dense model's predictions are of ", dense.sequences, " sequences of ",
                   dense.length, " tokens; asked for were ", sequences.count(), " of ",
                   sequences.sequence_length, " from number ", options.first, " on"));
}

absl::StatusOr<std::shared_ptr<const Predictions>> ResidentEngine::Predict(
    const TokenSequences& sequences, const Control& control, const Pipeline& pipeline) {
  ESPALIER_RETURN_IF_ERROR(CheckPipeline(pipeline));
  ESPALIER_RETURN_IF_ERROR(CheckDense("comparing with the dense model"));
  ESPALIER_RETURN_IF_ERROR(CheckTokens(sequences, model_.config.vocab_size));
  auto predictions = std::make_shared<Predictions>();
  predictions->sequences = sequences.count();
  predictions->length = sequences.sequence_length;
  ESPALIER_RETURN_IF_ERROR(
      WithoutExceptions("the dense model's predictions", [&]() -> absl::Status {
        std::vector<at::Tensor> expected;
        std::vector<at::Tensor> entropy;
        const auto finish = [&](const StageRunner::Batch& batch) {
          DenseRows rows = backend_->Predictions(model_, batch.x);
          expected.push_back(std::move(rows.expected));
          entropy.push_back(std::move(rows.entropy));
        };
        ESPALIER_RETURN_IF_ERROR(
            Runner(control, pipeline)
                .Run(Select(model_.subnet, nullptr), sequences, nullptr, finish));
        if (last_stage()) predictions->rows = {at::cat(expected), at::cat(entropy)};
        return absl::OkStatus();
      }));
  return std::shared_ptr<const Predictions>(std::move(predictions));
}

absl::StatusOr<std::shared_ptr<const Calibration>> ResidentEngine::Calibrate(
    const TokenSequences& sequences, const Control& control, const Pipeline& pipeline) {
  ESPALIER_RETURN_IF_ERROR(CheckPipeline(pipeline));
  ESPALIER_RETURN_IF_ERROR(CheckDense("calibration"));
  ESPALIER_RETURN_IF_ERROR(CheckTokens(sequences, model_.config.vocab_size));
  ESPALIER_RETURN_IF_ERROR(CheckGramMemory(model_.config));
  auto calibration = std::make_shared<Calibration>();
  if (!scratch_.empty()) calibration->repairs.SpillTo(scratch_);
  ESPALIER_RETURN_IF_ERROR(WithoutExceptions("calibration", [&]() -> absl::Status {
    const int64_t length = sequences.sequence_length;
    StatisticsCollector collector(model_, backend_.get(), sequences.count(), length,
                                  calibration.get());
    const auto observer_of = [&](int64_t layer) { return collector.Observer(layer); };
    const auto finish = [&](const StageRunner::Batch& batch) {
      collector.Outputs(batch.x, batch.first * length);
    };
    ESPALIER_RETURN_IF_ERROR(
        Runner(control, pipeline)
            .Run(Select(model_.subnet, nullptr), sequences, observer_of, finish));
    collector.Finish();
    return absl::OkStatus();
  }));
  return std::shared_ptr<const Calibration>(std::move(calibration));
}

absl::StatusOr<UnitScores> ResidentEngine::Importance(const Calibration& calibration,
                                                      double damping, const Control& control) {
  ESPALIER_RETURN_IF_ERROR(CheckDense("scoring units"));
  return WithoutExceptions("scoring units", [&]() -> absl::StatusOr<UnitScores> {
    return ComputeImportance(model_, calibration, damping, &pool_, control);
  });
}

absl::StatusOr<UnitScores> ResidentEngine::BaselineScores(const Calibration& calibration,
                                                          ScoreKind kind, const Control& control) {
  ESPALIER_RETURN_IF_ERROR(CheckDense("scoring units"));
  return WithoutExceptions("scoring units", [&]() -> absl::StatusOr<UnitScores> {
    return ComputeBaselineScores(model_, calibration, kind, &pool_, control);
  });
}

absl::StatusOr<Ranking> ResidentEngine::Rank(const Calibration& calibration, const CutSteps& steps,
                                             const Control& control) {
  ESPALIER_RETURN_IF_ERROR(CheckDense("ranking units"));
  if (steps.channels < 1 || steps.pairs < 1) {
    return absl::InvalidArgumentError("sizes of cuts must be multiples of at least 1");
  }
  return WithoutExceptions("ranking units", [&]() -> absl::StatusOr<Ranking> {
    return ComputeRanking(model_, calibration, steps, &pool_, control);
  });
}

absl::StatusOr<Reformation> ResidentEngine::ReformProgressively(
    const Calibration& calibration, const Subnet& subnet, const ReformationSpec& options,
    const TokenSequences& sequences, const Control& control, const Pipeline& pipeline) {
  ESPALIER_RETURN_IF_ERROR(CheckPipeline(pipeline));
  ESPALIER_RETURN_IF_ERROR(CheckDense("reformation"));
  ESPALIER_RETURN_IF_ERROR(CheckSubnet(subnet));
  ESPALIER_RETURN_IF_ERROR(CheckTokens(sequences, model_.config.vocab_size));
  return WithoutExceptions("progressive reformation", [&]() -> absl::StatusOr<Reformation> {
    // As candidates are repaired, so that those of the search are there already.
    ReformationSpec repair = options;
    repair.method = ReformationMethod::kProjected;
    ESPALIER_ASSIGN_OR_RETURN(
        const Reformation repaired,
        ComputeReformation(model_, calibration, subnet, repair, &pool_, control));
    const int64_t length = sequences.sequence_length;
    const int64_t held = HeldBack(sequences.count());
    const int64_t fitted = (sequences.count() - held) * length;
    StageRunner runner = Runner(control, pipeline);
    std::vector<Streams> streams;
    ESPALIER_ASSIGN_OR_RETURN(streams.emplace_back(),
                              runner.IncomingStreams(sequences.tokens, length));
    streams[0].fitted_rows = fitted;
    const std::vector<int32_t> starts = SequenceStarts(sequences.tokens, fitted);
    ESPALIER_ASSIGN_OR_RETURN(streams.emplace_back(), runner.IncomingStreams(starts, /*length=*/1));
    streams[1].fitted_rows = std::ssize(starts);
    streams[1].weight =
        static_cast<double>(sequences.count() - held) / static_cast<double>(std::ssize(starts));
    ESPALIER_ASSIGN_OR_RETURN(
        Reformation reformed,
        ComputeProgressiveReformation(model_, Select(subnet, repaired.weights.get()), options,
                                      backend_.get(), &pool_, control, &streams));
    if (!last_stage()) {
      for (const Streams& part : streams) ESPALIER_RETURN_IF_ERROR(runner.PassOn(part));
      return reformed;
    }
    auto weights = std::make_shared<ReformedWeights>(*reformed.weights);
    ESPALIER_ASSIGN_OR_RETURN(
        weights->final_norm,
        FitFinalNorm(model_, streams[0].dense.narrow(0, fitted, held * length),
                     streams[0].reformed.narrow(0, fitted, held * length),
                     sequences.tokens.data() + fitted, held, length, backend_.get(), control));
    reformed.weights = std::move(weights);
    return reformed;
  });
}

absl::StatusOr<Reformation> ResidentEngine::Reform(const Calibration& calibration,
                                                   const Subnet& subnet,
                                                   const ReformationSpec& options,
                                                   const Control& control) {
  ESPALIER_RETURN_IF_ERROR(CheckDense("reformation"));
  ESPALIER_RETURN_IF_ERROR(CheckSubnet(subnet));
  return WithoutExceptions("reformation", [&]() -> absl::StatusOr<Reformation> {
    return ComputeReformation(model_, calibration, subnet, options, &pool_, control);
  });
}

absl::Status ResidentEngine::ExportCompact(const Subnet& subnet, const ReformedWeights* reformed,
                                           DType dtype, const ByteSink& sink,
                                           const Control& control) {
  ESPALIER_RETURN_IF_ERROR(ValidateSubnet(subnet, folder_.config));
  const Subnet own = StageSubnet(subnet, stage_);
  ESPALIER_RETURN_IF_ERROR(CheckSubnet(own));
  return WithoutExceptions("exporting the subnet", [&]() -> absl::Status {
    const ModelConfig config =
        ReformedConfig(folder_.config, reformed != nullptr && reformed->biases);
    return WriteCompactTensors(folder_, config, Select(own, reformed),
                               reformed == nullptr ? at::Tensor() : reformed->final_norm, stage_,
                               subnet, dtype, sink, control);
  });
}

}  // namespace

double Perplexity(const std::vector<SequenceLoss>& losses) {
  double sum = 0;
  for (const SequenceLoss& loss : losses) {
    sum += loss.nll_sum / static_cast<double>(loss.predictions);
  }
  return std::exp(sum / static_cast<double>(losses.size()));
}

absl::StatusOr<std::unique_ptr<Engine>> Engine::Load(const std::filesystem::path& model,
                                                     const EngineOptions& options) {
  ESPALIER_ASSIGN_OR_RETURN(const at::Device device, ParseDevice(options.device));
  ESPALIER_ASSIGN_OR_RETURN(ModelFolder folder, OpenModelFolder(model));
  const bool wide = options.precision == Precision::kFloat32;
  const StageRange stage = options.stage.value_or(WholeModel(folder.config));
  ESPALIER_RETURN_IF_ERROR(CheckStage(stage, folder));
  int64_t needed = 0;
  for (const TensorSpec& spec : StageTensors(folder.config, folder.resident(),
                                             wide ? DType::kFloat32 : DType::kBFloat16, stage)) {
    needed += spec.ByteSize();
  }
  ESPALIER_RETURN_IF_ERROR(PrepareDevice(device, needed, model.string()));
  return WithoutExceptions(
      absl::StrCat("loading ", model.string()), [&]() -> absl::StatusOr<std::unique_ptr<Engine>> {
        ESPALIER_ASSIGN_OR_RETURN(
            ResidentModel resident_model,
            LoadResidentModel(folder, stage, wide ? at::kFloat : at::kBFloat16, device));
        // The weights were copied; the export reads the rest again.
        folder.tensors->ReleasePages();
        return std::make_unique<ResidentEngine>(std::move(folder), std::move(resident_model),
                                                options);
      });
}

}  // namespace espalier
