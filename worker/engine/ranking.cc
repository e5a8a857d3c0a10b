// Orders of units, of all modules of a stage.
#include <ATen/ATen.h>

#include "common/status_macros.h"
#include "worker/engine/attention_effects.h"
#include "worker/engine/elimination.h"
#include "worker/engine/head_metric.h"
#include "worker/engine/statistics.h"
#include "worker/engine/value_bases.h"

namespace espalier {

namespace {

// What is given to directions of the last layer's outputs that the head does not see, as a share of
// the mean over all: it sees few, but with the error of none of them out of bounds.
constexpr double kUnseen = 1.0 / 9;

// L with L Lᵀ the metric of the last layer's outputs, [d, d] float32: errors e there count as
// ‖e L‖². Undefined on other stages.
absl::StatusOr<at::Tensor> OutputFactor(const ResidentModel& model, const Calibration& calibration,
                                        ThreadPool* pool) {
  if (!calibration.outputs.defined()) return at::Tensor();
  const at::Tensor metric = HeadMetric(model, calibration.outputs.to(model.device), pool);
  ESPALIER_ASSIGN_OR_RETURN(const Cholesky factor, DampedCholesky(metric, kUnseen));
  return factor.lower.to(at::kFloat);
}

}  // namespace

absl::StatusOr<Ranking> ComputeRanking(const ResidentModel& model, const Calibration& calibration,
                                       const CutSteps& steps, ThreadPool* pool,
                                       const Control& control) {
  Ranking ranking;
  ranking.layers.resize(model.layers.size());
  ESPALIER_ASSIGN_OR_RETURN(const at::Tensor factor, OutputFactor(model, calibration, pool));
  // Output weights, transposed, in the metric of the layer's outputs: plain squares but for the
  // last one's. What comes after other layers sees nearly all directions alike
  // (docs/experiments.md).
  const auto measured = [&](int64_t layer, const at::Tensor& transposed) {
    const at::Tensor weights = transposed.to(at::kFloat);
    const bool last = layer + 1 == std::ssize(model.layers);
    return last && factor.defined() ? at::mm(weights, factor) : weights;
  };
  // One layer after another, each on all threads: its logits are the largest part of the memory.
  std::vector<at::Tensor> effects;
  effects.reserve(model.layers.size());
  for (size_t i = 0; i < model.layers.size(); ++i) {
    if (Cancelled(control)) return CancelledError();
    const auto layer = static_cast<int64_t>(i);
    effects.push_back(PairEffects(model, layer, measured(layer, model.layers[i].o_transposed),
                                  calibration.first_inputs[i].to(model.device), pool));
  }
  ESPALIER_RETURN_IF_ERROR(ForModules(
      model, pool, control, [&](int64_t i, bool mlp, const Warner& warn) -> absl::Status {
        const ResidentLayer& layer = model.layers[i];
        const LayerGrams& grams = calibration.layers[i];
        LayerRanking* const result = &ranking.layers[i];
        if (mlp) {
          return EliminateChannels(measured(i, layer.down_transposed), grams.down.to(model.device),
                                   steps, control, warn, result);
        }
        const at::Tensor gram = grams.o.to(model.device);
        ESPALIER_ASSIGN_OR_RETURN(const at::Tensor bases,
                                  ValueBases(layer.o_transposed, gram, model.config));
        return EliminateAttention(measured(i, layer.o_transposed), gram, bases, effects[i],
                                  model.config, steps, control, warn, result);
      }));
  return ranking;
}

}  // namespace espalier
