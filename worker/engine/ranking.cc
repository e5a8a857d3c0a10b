// Orders of units, of all modules of a stage.
#include <ATen/ATen.h>

#include "common/status_macros.h"
#include "worker/engine/elimination.h"
#include "worker/engine/statistics.h"

namespace espalier {

absl::StatusOr<Ranking> ComputeRanking(const ResidentModel& model, const Calibration& calibration,
                                       const CutSteps& steps, ThreadPool* pool,
                                       const Control& control) {
  Ranking ranking;
  ranking.layers.resize(model.layers.size());
  ESPALIER_RETURN_IF_ERROR(ForModules(model, pool, control, [&](int64_t i, bool mlp) {
    const ResidentLayer& layer = model.layers[i];
    const LayerGrams& grams = calibration.layers[i];
    return mlp ? EliminateChannels(layer.down_transposed.to(at::kCPU, at::kFloat), grams.down,
                                   steps, &ranking.layers[i])
               : EliminateAttention(layer.o_transposed.to(at::kCPU, at::kFloat), grams.o,
                                    calibration.pair_effects[i], model.config, steps,
                                    &ranking.layers[i]);
  }));
  return ranking;
}

}  // namespace espalier
