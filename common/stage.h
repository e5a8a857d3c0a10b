// A stage: the contiguous part of a model that one device of a pipeline holds.
#ifndef ESPALIER_COMMON_STAGE_H_
#define ESPALIER_COMMON_STAGE_H_

#include <cstdint>
#include <vector>

#include "common/model_config.h"
#include "common/subnet.h"

namespace espalier {

// The layers first … first + count − 1. The stage with layer 0 also holds the embedding, the one
// with the last layer the final norm and the output head (the embedding again, if they are tied).
struct StageRange {
  int64_t first = 0;
  int64_t count = 0;

  int64_t end() const { return first + count; }
  friend bool operator==(const StageRange&, const StageRange&) = default;
};

inline StageRange WholeModel(const ModelConfig& config) { return {0, config.num_layers}; }
inline bool HoldsEmbedding(const StageRange& range) { return range.first == 0; }
inline bool HoldsHead(const StageRange& range, const ModelConfig& config) {
  return range.end() == config.num_layers;
}

// The stage as a model of its own: `config` with the stage's number of layers, and the masks of its
// layers. `range` must lie within the model.
ModelConfig StageConfig(const ModelConfig& config, const StageRange& range);
Subnet StageSubnet(const Subnet& subnet, const StageRange& range);

}  // namespace espalier

#endif  // ESPALIER_COMMON_STAGE_H_
