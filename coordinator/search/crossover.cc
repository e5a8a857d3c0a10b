#include "coordinator/search/crossover.h"

#include <array>
#include <cstdint>
#include <cstdlib>

#include "coordinator/search/initial_architecture.h"
#include "coordinator/search/repair.h"
#include "coordinator/search/unit_choice.h"

namespace espalier::search {
namespace {

// Which parent each layer comes from: 0 or 1.
using Sides = std::vector<int>;
using ParentLevels = std::array<Levels, 2>;

Levels Chosen(const ParentLevels& parents, const Sides& sides) {
  Levels levels;
  for (size_t l = 0; l < sides.size(); ++l) levels.push_back(parents[sides[l]][l]);
  return levels;
}

// Layers where the parents disagree and the chosen one is present or not.
std::vector<int64_t> Disputed(const ParentLevels& parents, const Sides& sides, bool present) {
  std::vector<int64_t> layers;
  for (size_t l = 0; l < sides.size(); ++l) {
    if (parents[sides[l]][l].present() == present &&
        parents[1 - sides[l]][l].present() != present) {
      layers.push_back(static_cast<int64_t>(l));
    }
  }
  return layers;
}

// Some number between the layers that both have and those that either has is reachable: each
// parent's own.
void RepairDepth(const SearchSpace& space, const ParentLevels& parents, RandomStream& random,
                 Sides* sides) {
  const int64_t count = PresentLayers(Chosen(parents, *sides));
  if (space.Reachable(count)) return;
  const std::vector<int64_t> removable = Disputed(parents, *sides, true);
  const std::vector<int64_t> addable = Disputed(parents, *sides, false);
  const int64_t less = count - space.NextBelow(count);
  const int64_t more = space.NextAbove(count) - count;
  const bool can_add = more > 0 && more <= static_cast<int64_t>(addable.size());
  const bool can_remove = less > 0 && less <= static_cast<int64_t>(removable.size());
  const bool add = can_add && (!can_remove || more <= less);
  const std::vector<int64_t>& layers = add ? addable : removable;
  for (int64_t i : random.Sample(static_cast<int64_t>(layers.size()), add ? more : less)) {
    (*sides)[layers[i]] = 1 - (*sides)[layers[i]];
  }
}

LayerMask ResizeLayer(const SearchSpace& space, const LayerOrders& orders, const LayerMask& layer,
                      const LayerLevels& from, const LayerLevels& to, RandomStream& random) {
  const ModuleSpace& attention = space.attention();
  const ModuleSpace& mlp = space.mlp();
  LayerMask resized;
  for (size_t g = 0; g < layer.attention.size(); ++g) {
    resized.attention.push_back(ResizeMask({layer.attention[g], attention.Size(from.attention)},
                                           attention.Size(to.attention), orders.attention[g],
                                           random));
  }
  resized.mlp = ResizeMask({layer.mlp, mlp.Size(from.mlp)}, mlp.Size(to.mlp), orders.mlp, random);
  return resized;
}

}  // namespace

Subnet Crossover(const SearchSpace& space, const std::vector<LayerOrders>& orders,
                 const Subnet& first, const Subnet& second, RandomStream& random) {
  const ParentLevels parents = {space.LevelsOf(first), space.LevelsOf(second)};
  Sides sides(orders.size());
  for (int& side : sides) side = static_cast<int>(random.Below(2));
  RepairDepth(space, parents, random, &sides);
  const Levels chosen = Chosen(parents, sides);
  Levels levels = chosen;
  RepairLevels(space, random, &levels);

  Subnet child;
  child.layers.reserve(levels.size());
  for (size_t l = 0; l < levels.size(); ++l) {
    const LayerMask& layer = (sides[l] == 0 ? first : second).layers[l];
    child.layers.push_back(levels[l].present()
                               ? ResizeLayer(space, orders[l], layer, chosen[l], levels[l], random)
                               : layer);
  }
  return child;
}

}  // namespace espalier::search
