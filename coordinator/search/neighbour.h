// A new subnet next to a known one, found by enumeration: what takes the place of a candidate when
// random draws only repeat what was seen.
#ifndef ESPALIER_COORDINATOR_SEARCH_NEIGHBOUR_H_
#define ESPALIER_COORDINATOR_SEARCH_NEIGHBOUR_H_

#include <functional>
#include <optional>
#include <vector>

#include "common/rng.h"
#include "common/subnet.h"
#include "coordinator/search/search_space.h"
#include "coordinator/search/unit_order.h"

namespace espalier::search {

// The first subnet that `is_new` accepts among those that differ from `subnet` by one kept unit for
// one omitted, masks in turn from a random one on; then among those in which a dropped layer takes
// a present one's place. All have the parameter count of `subnet`. Asks at most once more than
// there are subnets that are not new.
std::optional<Subnet> NewNeighbour(const SearchSpace& space, const std::vector<LayerOrders>& orders,
                                   const Subnet& subnet,
                                   const std::function<bool(const Subnet&)>& is_new,
                                   RandomStream& random);

}  // namespace espalier::search

#endif  // ESPALIER_COORDINATOR_SEARCH_NEIGHBOUR_H_
