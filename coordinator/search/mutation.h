// One subnet changed at random (paper section 3.3).
#ifndef ESPALIER_COORDINATOR_SEARCH_MUTATION_H_
#define ESPALIER_COORDINATOR_SEARCH_MUTATION_H_

#include <vector>

#include "common/job_spec.h"
#include "common/rng.h"
#include "common/subnet.h"
#include "coordinator/search/search_space.h"
#include "coordinator/search/unit_order.h"

namespace espalier::search {

// In this order:
// 1. With probability `depth`, one layer is dropped, restored, or exchanged for a dropped one (more
//    than one where single layers cannot be legal). A restored layer has the sizes of a random
//    present one and its own highest-scoring units.
// 2. Each module, with probability `ratio`, draws its ratio anew from the search space.
// 3. Sizes are repaired (RepairLevels), so that masks are drawn for sizes that are final.
// 4. Each mask, if its module drew another size or with probability `mask`, is redrawn; it then
//    still shares at least overlap · min(old size, new size) units with the old one. Other masks
//    only follow their size. How much is exchanged is drawn per mask, up to a bound that is drawn
//    per mutation from the full allowance down to 1/16 of it: steps of every length.
// The result is legal. Requires a legal parent.
Subnet Mutate(const SearchSpace& space, const std::vector<LayerOrders>& orders,
              const Subnet& parent, const MutationSpec& spec, double overlap, RandomStream& random);

}  // namespace espalier::search

#endif  // ESPALIER_COORDINATOR_SEARCH_MUTATION_H_
