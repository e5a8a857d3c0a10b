// What the rankings of `method: espalier` compute (worker/engine/elimination.h,
// attention_effects.h), and the sizes of the cuts that they give. docs/plan.md has the formulas.
#ifndef ESPALIER_COMMON_PLAN_RANKING_COST_H_
#define ESPALIER_COMMON_PLAN_RANKING_COST_H_

#include <cstdint>
#include <vector>

#include "common/job_spec.h"
#include "common/model_config.h"
#include "common/ranking.h"

namespace espalier {

// Positions of the calibration text that pair effects are measured on.
int64_t EffectPositions(const JobSpec& spec);

// The steps that a resolved job's modules are cut in.
CutSteps StepsOf(const JobSpec& spec);

// Operations for one layer.
struct RankingFlops {
  double effects = 0;       // leaving pairs out: float32, on the device
  double factors = 0;       // of the Gram matrices, and their inverses: float64
  double eliminations = 0;  // of channels, pairs and groups: float32
};
// HeadMetric, once, in float32, of a calibration on so many positions.
double HeadMetricFlops(const ModelConfig& config, int64_t positions);

RankingFlops LayerRankingFlops(const ModelConfig& config, const CutSteps& steps, int64_t positions);

// Sizes of the cuts of a layer's modules, ascending: kept pairs over all groups, of which several
// cuts may have equally many, and kept channels. Neither nothing nor everything is among them.
std::vector<int64_t> AttentionCutSizes(const ModelConfig& config, const CutSteps& steps);
std::vector<int64_t> MlpCutSizes(const ModelConfig& config, const CutSteps& steps);

// The repaired weights of every cut of a layer's modules once: what the engine's repair cache can
// hold at most.
int64_t LayerCutBytes(const ModelConfig& config, const CutSteps& steps, Precision precision);

}  // namespace espalier

#endif  // ESPALIER_COMMON_PLAN_RANKING_COST_H_
