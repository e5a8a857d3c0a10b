// Orders of units, of all modules of a stage.
#include <ATen/ATen.h>

#include "common/status_macros.h"
#include "worker/engine/attention_effects.h"
#include "worker/engine/elimination.h"
#include "worker/engine/statistics.h"

namespace espalier {

absl::StatusOr<Ranking> ComputeRanking(const ResidentModel& model, const Calibration& calibration,
                                       const CutSteps& steps, ThreadPool* pool,
                                       const Control& control) {
  Ranking ranking;
  ranking.layers.resize(model.layers.size());
  // One layer after another, each on all threads: its logits are the largest part of the memory.
  std::vector<at::Tensor> effects;
  effects.reserve(model.layers.size());
  for (size_t i = 0; i < model.layers.size(); ++i) {
    if (Cancelled(control)) return CancelledError();
    effects.push_back(PairEffects(model, static_cast<int64_t>(i),
                                  calibration.first_inputs[i].to(model.device), pool));
  }
  ESPALIER_RETURN_IF_ERROR(ForModules(model, pool, control, [&](int64_t i, bool mlp) {
    const ResidentLayer& layer = model.layers[i];
    const LayerGrams& grams = calibration.layers[i];
    return mlp ? EliminateChannels(layer.down_transposed.to(at::kCPU, at::kFloat), grams.down,
                                   steps, &ranking.layers[i])
               : EliminateAttention(layer.o_transposed.to(at::kCPU, at::kFloat), grams.o,
                                    effects[i], model.config, steps, &ranking.layers[i]);
  }));
  return ranking;
}

}  // namespace espalier
