#include "common/stage.h"

namespace espalier {

ModelConfig StageConfig(const ModelConfig& config, const StageRange& range) {
  ModelConfig stage = config;
  stage.num_layers = range.count;
  return stage;
}

Subnet StageSubnet(const Subnet& subnet, const StageRange& range) {
  const auto first = subnet.layers.begin() + range.first;
  return {.layers = {first, first + range.count}};
}

}  // namespace espalier
