// Unit scores as the search uses them: only their order counts.
#ifndef ESPALIER_COORDINATOR_SEARCH_UNIT_ORDER_H_
#define ESPALIER_COORDINATOR_SEARCH_UNIT_ORDER_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "common/importance.h"
#include "common/model_config.h"

namespace espalier::search {

// INVALID_ARGUMENT, naming the layer and the unit, unless the scores have the model's shape and are
// finite and not negative.
absl::Status CheckUnitScores(const UnitScores& scores, const ModelConfig& config);

// The units of one mask from the highest score to the lowest, ties to the lower index.
using UnitOrder = std::vector<int32_t>;

struct LayerOrders {
  std::vector<UnitOrder> attention;  // [G] of h/2
  UnitOrder mlp;                     // f
};

std::vector<LayerOrders> SortUnits(const UnitScores& scores);  // [L]

}  // namespace espalier::search

#endif  // ESPALIER_COORDINATOR_SEARCH_UNIT_ORDER_H_
