// Which units of a mask stay: the highest-scoring ones at first, then changed by guided draws.
//
// The paper draws masks uniformly. Here units that leave are drawn from the lower-scoring end of
// the kept ones and units that come from the higher-scoring end of the omitted ones. How far the
// pool reaches from that end is itself random and may be everything, so every unit can be drawn.
#ifndef ESPALIER_COORDINATOR_SEARCH_UNIT_CHOICE_H_
#define ESPALIER_COORDINATOR_SEARCH_UNIT_CHOICE_H_

#include <cstdint>

#include "common/bitmask.h"
#include "common/rng.h"
#include "coordinator/search/unit_order.h"

namespace espalier::search {

// The `size` first units of `order`.
Bitmask TopUnits(const UnitOrder& order, int64_t size);

// `size` units drawn uniformly.
Bitmask RandomUnits(int64_t units, int64_t size, RandomStream& random);

// A mask that is to change, and how many units it keeps, which callers know anyway.
struct SizedMask {
  const Bitmask& mask;
  int64_t size;
};

// The mask with as many units dropped or added as the new size asks for, and nothing else changed:
// a draw of half of the twice as many that are lowest (to drop) or highest (to add). Taking exactly
// the lowest would undo what mutations have found every time that a size moves.
Bitmask ResizeMask(const SizedMask& old, int64_t size, const UnitOrder& order,
                   RandomStream& random);

// The most units that a redrawn mask may exchange, beyond those that its size adds or removes, so
// that it shares at least overlap · min(old_size, size) units with the old one.
int64_t MostExchanged(int64_t units, int64_t old_size, int64_t size, double overlap);

// A mask of `size` units that has lost `exchanged` more units of the old one than its size asks
// for, and gained as many others. Requires 0 <= exchanged <= MostExchanged(...) for some overlap.
Bitmask RedrawMask(const SizedMask& old, int64_t size, int64_t exchanged, const UnitOrder& order,
                   RandomStream& random);

}  // namespace espalier::search

#endif  // ESPALIER_COORDINATOR_SEARCH_UNIT_CHOICE_H_
