// What progressive reformation computes (worker/engine/progressive_reformation.h). docs/plan.md has
// the formulas.
#ifndef ESPALIER_COMMON_PLAN_PROGRESSIVE_COST_H_
#define ESPALIER_COMMON_PLAN_PROGRESSIVE_COST_H_

#include <cstdint>

#include "common/model_config.h"

namespace espalier {

// Operations for one layer of a subnet, without the closed form that comes first.
struct ProgressiveFlops {
  double passes = 0;    // of both streams through the layer, in the job's precision
  double products = 0;  // Gram matrices and cross products over the text, in the job's precision
  double weights = 0;   // maps and errors, of weights alone: float32, on one thread of a CPU
  double solves = 0;    // float64, on one thread of a CPU

  double sum() const { return passes + products + weights + solves; }
};

// Sequences of one token that are fitted beside the text's (SequenceStarts there).
int64_t ProgressiveStarts(int64_t sequences, int64_t length);

// `share` as in model_cost.h. A GPU computes both triangles of Gram matrices, and a module of the
// subnet up to its output linear once more where a CPU keeps what that gets.
ProgressiveFlops LayerProgressiveFlops(const ModelConfig& config, double share, int64_t sequences,
                                       int64_t length, bool gpu);

}  // namespace espalier

#endif  // ESPALIER_COMMON_PLAN_PROGRESSIVE_COST_H_
