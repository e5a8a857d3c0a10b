// Divides a model's layers over S devices in a row ("stages"): contiguous ranges, balanced.
#ifndef ESPALIER_COMMON_PLAN_STAGE_SPLIT_H_
#define ESPALIER_COMMON_PLAN_STAGE_SPLIT_H_

#include <cstdint>
#include <limits>
#include <vector>

#include "absl/status/statusor.h"
#include "common/stage.h"

namespace espalier {

// What a part of the model takes from the device that holds it. Neither may be negative.
struct StageLoad {
  int64_t bytes = 0;  // resident
  double work = 0;    // for one candidate; any unit

  friend bool operator==(const StageLoad&, const StageLoad&) = default;
};

struct StageProblem {
  std::vector<StageLoad> layers;  // [L]
  StageLoad head;                 // of the first stage beside its layers: the embedding
  StageLoad tail;                 // of the last stage: final norm and output head
  StageLoad every;                // of every stage: scratch, activations
};

inline constexpr int64_t kNoByteLimit = std::numeric_limits<int64_t>::max();

// The load of `range` as a stage of the problem: with `head` if it has the first layer, with `tail`
// if it has the last.
StageLoad LoadOf(const StageProblem& problem, const StageRange& range);

// `stages` ranges that cover all layers in order, none empty. Of all splits whose stages take at
// most `byte_limit` bytes each, one whose largest work is least, because the slowest stage sets the
// pace of a pipeline; among those, one whose largest number of bytes is least. Deterministic.
// Exact: dynamic programming, O(stages · L²).
//
// INVALID_ARGUMENT unless 1 ≤ stages ≤ L. RESOURCE_EXHAUSTED when no split keeps the limit; the
// message has the number of bytes that the best one takes.
absl::StatusOr<std::vector<StageRange>> SplitIntoStages(const StageProblem& problem, int64_t stages,
                                                        int64_t byte_limit = kNoByteLimit);

}  // namespace espalier

#endif  // ESPALIER_COMMON_PLAN_STAGE_SPLIT_H_
