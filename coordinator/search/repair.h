// Sizes made legal by construction: no draw is ever thrown away and repeated.
#ifndef ESPALIER_COORDINATOR_SEARCH_REPAIR_H_
#define ESPALIER_COORDINATOR_SEARCH_REPAIR_H_

#include "common/rng.h"
#include "coordinator/search/search_space.h"

namespace espalier::search {

// Moves sizes step by step until the parameter count is legal; which layers are present does not
// change. Legal sizes stay as they are. Every step that a module could take towards the goal is
// equally likely, so that the change spreads over modules by the room that each has. Only when the
// window is finer than the steps left is the nearest exact combination of steps taken instead.
// Requires space.Reachable(PresentLayers(*levels)).
void RepairLevels(const SearchSpace& space, RandomStream& random, Levels* levels);

}  // namespace espalier::search

#endif  // ESPALIER_COORDINATOR_SEARCH_REPAIR_H_
