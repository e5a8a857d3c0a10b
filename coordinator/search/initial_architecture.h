// Where the search starts: the highest-scoring units, at equal ratio in every layer (paper section
// 3.2).
#ifndef ESPALIER_COORDINATOR_SEARCH_INITIAL_ARCHITECTURE_H_
#define ESPALIER_COORDINATOR_SEARCH_INITIAL_ARCHITECTURE_H_

#include <cstdint>
#include <vector>

#include "common/subnet.h"
#include "coordinator/search/search_space.h"
#include "coordinator/search/unit_order.h"

namespace espalier::search {

// Sizes nearest to one ratio everywhere, with the most parameters that are legal. All layers are
// present if that can be legal, else the deepest ones before the last are dropped, which models
// miss least (Men et al., "ShortGPT", arXiv 2403.03853). All attentions have one size; MLPs differ
// by at most one step, the first layers having the larger ones. `seed` matters only where the
// window is too narrow for that: it places single steps.
Levels InitialLevels(const SearchSpace& space, uint64_t seed);

// The subnet with these sizes and the highest-scoring units of each mask.
Subnet TopSubnet(const SearchSpace& space, const std::vector<LayerOrders>& orders,
                 const Levels& levels);

// A layer without units.
LayerMask EmptyLayer(const SearchSpace& space);

// The highest-scoring units of one layer.
LayerMask TopLayer(const SearchSpace& space, const LayerOrders& orders, const LayerLevels& levels);

}  // namespace espalier::search

#endif  // ESPALIER_COORDINATOR_SEARCH_INITIAL_ARCHITECTURE_H_
