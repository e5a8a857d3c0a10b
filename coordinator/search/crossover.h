// Two subnets combined (paper section 3.3).
#ifndef ESPALIER_COORDINATOR_SEARCH_CROSSOVER_H_
#define ESPALIER_COORDINATOR_SEARCH_CROSSOVER_H_

#include <vector>

#include "common/rng.h"
#include "common/subnet.h"
#include "coordinator/search/search_space.h"
#include "coordinator/search/unit_order.h"

namespace espalier::search {

// Each layer has the masks of one parent or the other, with equal chance. If the number of present
// layers cannot be legal, as few layers as possible where the parents differ change sides; then
// sizes are repaired and masks follow their sizes. The result is legal. Requires legal parents.
Subnet Crossover(const SearchSpace& space, const std::vector<LayerOrders>& orders,
                 const Subnet& first, const Subnet& second, RandomStream& random);

}  // namespace espalier::search

#endif  // ESPALIER_COORDINATOR_SEARCH_CROSSOVER_H_
