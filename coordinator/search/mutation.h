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

struct MutationOptions {
  MutationSpec probabilities;
  double overlap = 0.8;  // α
  // New ratios come from the whole search space, as in the paper; else from a part of it around the
  // old ratio, as wide as the mutation's strength. Explores from a fixed start; refines survivors.
  bool whole_space = true;
};

// Each mutation has a strength, drawn from 1, 1/2, 1/4, 1/8 and 1/16. In this order:
// 1. With probability `depth`, one layer is dropped, restored, or exchanged for a dropped one (more
//    than one where single layers cannot be legal). A restored layer has the sizes of a random
//    present one and its own highest-scoring units.
// 2. Each module, with probability `ratio`, draws its ratio anew.
// 3. Sizes are repaired (RepairLevels), so that masks are drawn for sizes that are final.
// 4. Each mask, if its module drew another size or with probability `mask`, is redrawn; it then
//    still shares at least α · min(old size, new size) units with the old one. Other masks only
//    follow their size. How many units are exchanged is drawn per mask, up to the strength's part
//    of what α allows.
// The result is legal. Requires a legal parent.
Subnet Mutate(const SearchSpace& space, const std::vector<LayerOrders>& orders,
              const Subnet& parent, const MutationOptions& options, RandomStream& random);

}  // namespace espalier::search

#endif  // ESPALIER_COORDINATOR_SEARCH_MUTATION_H_
