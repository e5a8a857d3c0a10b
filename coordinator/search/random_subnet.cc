#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "common/rng.h"
#include "common/status_macros.h"
#include "coordinator/search/initial_architecture.h"
#include "coordinator/search/search.h"
#include "coordinator/search/search_space.h"
#include "coordinator/search/unit_choice.h"

namespace espalier {

absl::StatusOr<Subnet> RandomSubnet(const ModelConfig& config, const JobSpec& spec, uint64_t seed) {
  ESPALIER_ASSIGN_OR_RETURN(std::unique_ptr<const search::SearchSpace> space,
                            search::SearchSpace::Create(config, spec));
  const search::Levels levels = search::InitialLevels(*space, spec.seed);
  RandomStream random(seed, RandomPurpose::kBaseline, 0, 0);
  Subnet subnet;
  for (const search::LayerLevels& sizes : levels) {
    LayerMask layer = search::EmptyLayer(*space);
    if (sizes.present()) {
      for (Bitmask& group : layer.attention) {
        group = search::RandomUnits(group.size(), space->attention().Size(sizes.attention), random);
      }
      layer.mlp = search::RandomUnits(layer.mlp.size(), space->mlp().Size(sizes.mlp), random);
    }
    subnet.layers.push_back(std::move(layer));
  }
  return subnet;
}

}  // namespace espalier
