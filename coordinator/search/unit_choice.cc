#include "coordinator/search/unit_choice.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace espalier::search {
namespace {

// The first `count` units from `begin` on whose bit is `kept`. Requires that there are as many.
template <typename Iterator>
UnitOrder First(const Bitmask& mask, bool kept, Iterator begin, int64_t count) {
  // Written first and counted after: whether a unit is kept is too irregular to branch on, and this
  // loop is most of the time that a generation takes.
  UnitOrder units(count + 1);
  for (int64_t found = 0; found < count; ++begin) {
    units[found] = *begin;
    found += mask.Test(*begin) == kept ? 1 : 0;
  }
  units.pop_back();
  return units;
}

// Flips `count` units of `mask`, drawn from `pool`.
void FlipSome(UnitOrder pool, int64_t count, RandomStream& random, Bitmask* mask) {
  for (int64_t i = 0; i < count; ++i) {
    std::swap(pool[i], pool[i + static_cast<int64_t>(random.Below(pool.size() - i))]);
    mask->Set(pool[i], !mask->Test(pool[i]));
  }
}

// The numbers of units to draw from, at one end of the order.
struct Pools {
  int64_t leaving;
  int64_t coming;
};

// Both pools come from the old mask: a unit that leaves cannot come back in the same draw.
Bitmask Exchange(const Bitmask& old_mask, int64_t leaving, int64_t coming, const Pools& pools,
                 const UnitOrder& order, RandomStream& random) {
  if (leaving == 0 && coming == 0) return old_mask;
  UnitOrder lowest = First(old_mask, true, order.rbegin(), pools.leaving);
  UnitOrder highest = First(old_mask, false, order.begin(), pools.coming);
  Bitmask mask = old_mask;
  FlipSome(std::move(lowest), leaving, random, &mask);
  FlipSome(std::move(highest), coming, random, &mask);
  return mask;
}

// A pool for `count` draws out of `all` units: twice as many, four times, ... or all, each equally
// likely. Whole numbers only, so that every machine draws the same.
int64_t DrawPool(int64_t count, int64_t all, RandomStream& random) {
  if (count == 0) return 0;
  int doublings = 1;
  while ((count << doublings) < all) ++doublings;
  const auto chosen = 1 + random.Below(static_cast<uint64_t>(doublings));
  return std::min(all, count << chosen);
}

}  // namespace

Bitmask TopUnits(const UnitOrder& order, int64_t size) {
  Bitmask mask(static_cast<int64_t>(order.size()));
  for (int64_t i = 0; i < size; ++i) mask.Set(order[i]);
  return mask;
}

Bitmask RandomUnits(int64_t units, int64_t size, RandomStream& random) {
  UnitOrder all(units);
  std::iota(all.begin(), all.end(), 0);
  Bitmask mask(units);
  FlipSome(std::move(all), size, random, &mask);
  return mask;
}

Bitmask ResizeMask(const SizedMask& old, int64_t size, const UnitOrder& order,
                   RandomStream& random) {
  const int64_t leaving = std::max<int64_t>(old.size - size, 0);
  const int64_t coming = std::max<int64_t>(size - old.size, 0);
  const Pools pools{.leaving = std::min(old.size, 2 * leaving),
                    .coming = std::min(old.mask.size() - old.size, 2 * coming)};
  return Exchange(old.mask, leaving, coming, pools, order, random);
}

int64_t MostExchanged(int64_t units, int64_t old_size, int64_t size, double overlap) {
  const int64_t smaller = std::min(old_size, size);
  // Slack for the rounding of a product such as 0.7 * 10; far below one unit.
  const auto shared =
      static_cast<int64_t>(std::ceil(overlap * static_cast<double>(smaller) - 1e-9));
  const int64_t others = units - std::max(old_size, size);  // units that no size change brings
  return std::max<int64_t>(0, std::min(smaller - shared, others));
}

Bitmask RedrawMask(const SizedMask& old, int64_t size, int64_t exchanged, const UnitOrder& order,
                   RandomStream& random) {
  const int64_t leaving = std::max<int64_t>(old.size - size, 0) + exchanged;
  const int64_t coming = std::max<int64_t>(size - old.size, 0) + exchanged;
  const int64_t leaving_pool = DrawPool(leaving, old.size, random);
  const int64_t coming_pool = DrawPool(coming, old.mask.size() - old.size, random);
  return Exchange(old.mask, leaving, coming, {.leaving = leaving_pool, .coming = coming_pool},
                  order, random);
}

}  // namespace espalier::search
