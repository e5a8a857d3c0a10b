#include "coordinator/search/neighbour.h"

#include <cstdint>

#include "coordinator/search/initial_architecture.h"

namespace espalier::search {
namespace {

// Exchanges one unit of `mask`, which is a part of `subnet`; true when that made it new.
bool ExchangeOne(const UnitOrder& order, const std::function<bool(const Subnet&)>& is_new,
                 Subnet* subnet, Bitmask* mask) {
  const Bitmask before = *mask;
  for (auto leaving = order.rbegin(); leaving != order.rend(); ++leaving) {
    if (!before.Test(*leaving)) continue;
    for (int32_t coming : order) {
      if (before.Test(coming)) continue;
      mask->Set(*leaving, false);
      mask->Set(coming, true);
      if (is_new(*subnet)) return true;
      *mask = before;
    }
  }
  return false;
}

std::optional<Subnet> MoveLayer(const SearchSpace& space, const std::vector<LayerOrders>& orders,
                                const Subnet& subnet,
                                const std::function<bool(const Subnet&)>& is_new) {
  const Levels levels = space.LevelsOf(subnet);
  for (int64_t from : LayersWhere(levels, true)) {
    for (int64_t to : LayersWhere(levels, false)) {
      Subnet moved = subnet;
      moved.layers[from] = EmptyLayer(space);
      moved.layers[to] = TopLayer(space, orders[to], levels[from]);
      if (is_new(moved)) return moved;
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<Subnet> NewNeighbour(const SearchSpace& space, const std::vector<LayerOrders>& orders,
                                   const Subnet& subnet,
                                   const std::function<bool(const Subnet&)>& is_new,
                                   RandomStream& random) {
  const size_t masks_per_layer = orders.front().attention.size() + 1;
  const size_t masks = orders.size() * masks_per_layer;
  const size_t first = random.Below(masks);
  Subnet changed = subnet;
  for (size_t i = 0; i < masks; ++i) {
    const size_t l = (first + i) % masks / masks_per_layer;
    const size_t m = (first + i) % masks % masks_per_layer;
    const bool is_mlp = m + 1 == masks_per_layer;
    LayerMask& layer = changed.layers[l];
    if (ExchangeOne(is_mlp ? orders[l].mlp : orders[l].attention[m], is_new, &changed,
                    is_mlp ? &layer.mlp : &layer.attention[m])) {
      return changed;
    }
  }
  return MoveLayer(space, orders, subnet, is_new);
}

}  // namespace espalier::search
