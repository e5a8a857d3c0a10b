// Unit scores of a dense model: how much each rotary pair and each MLP channel matters.
#ifndef ESPALIER_COMMON_IMPORTANCE_H_
#define ESPALIER_COMMON_IMPORTANCE_H_

#include <vector>

namespace espalier {

// What the scores say: the paper's importance (docs/method.md, "Calibration and importance"), or
// what one of the baselines compares ("Baselines").
enum class ScoreKind { kImportance, kMagnitude, kWanda, kFluctuation };

// Higher = more important; finite and not negative. Comparable within one layer's module.
struct LayerScores {
  std::vector<std::vector<double>> attention;  // [G][h/2]
  std::vector<double> mlp;                     // [f]
};

struct UnitScores {
  std::vector<LayerScores> layers;  // [L]
};

}  // namespace espalier

#endif  // ESPALIER_COMMON_IMPORTANCE_H_
