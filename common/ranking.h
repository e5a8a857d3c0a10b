// In what order the units of each module of a dense model can go, and what that costs: computed
// once per model and text from its statistics (worker/engine), used by searches that allocate sizes
// over modules (coordinator/search).
#ifndef ESPALIER_COMMON_RANKING_H_
#define ESPALIER_COMMON_RANKING_H_

#include <cstdint>
#include <vector>

#include "common/bitmask.h"

namespace espalier {

// Sizes that cuts have: kept channels are a multiple of `channels`, kept pairs of a KV group of
// `pairs`.
struct CutSteps {
  int64_t channels = 64;
  int64_t pairs = 4;

  friend bool operator==(const CutSteps&, const CutSteps&) = default;
};

// One way to cut the attention of a layer: whole KV groups, pairs of every group, or both.
struct AttentionCut {
  std::vector<Bitmask> masks;  // [G], of h/2 pairs; a group that goes keeps none
  // Estimated relative change of the module's output once its weights are reformed:
  // ‖y − y'‖² / ‖y‖² over the calibration text, in the last layer in the head's metric
  // (docs/method.md, "Ranking"). Finite, ≥ 0.
  double error = 0;
};

struct LayerRanking {
  // In no particular order, neither the whole attention nor none of it among them. Several may keep
  // equally many pairs.
  std::vector<AttentionCut> attention;
  std::vector<int32_t> channels;  // [f], a permutation: the first goes first
  // channel_errors[i] is the error when i · CutSteps::channels channels stay, the last of the
  // order, for all sizes below f: [⌈f / step⌉]. Descending; the first is that of an empty MLP.
  std::vector<double> channel_errors;
};

struct Ranking {
  std::vector<LayerRanking> layers;  // [L]
};

}  // namespace espalier

#endif  // ESPALIER_COMMON_RANKING_H_
