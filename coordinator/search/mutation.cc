#include "coordinator/search/mutation.h"

#include <algorithm>
#include <cstdint>

#include "coordinator/search/initial_architecture.h"
#include "coordinator/search/repair.h"
#include "coordinator/search/unit_choice.h"

namespace espalier::search {
namespace {

// Bounds on how far a mutation goes are the allowance divided by 1, 2, 4, 8 or 16.
constexpr uint64_t kStrengths = 5;

struct DepthMove {
  int64_t dropped = 0;
  int64_t restored = 0;
};

std::vector<DepthMove> DepthMoves(const SearchSpace& space, int64_t layers) {
  std::vector<DepthMove> moves;
  const int64_t below = space.NextBelow(layers);
  const int64_t above = space.NextAbove(layers);
  if (below != layers) moves.push_back({.dropped = layers - below});
  if (above != layers) moves.push_back({.restored = above - layers});
  if (layers < space.num_layers()) moves.push_back({.dropped = 1, .restored = 1});
  return moves;
}

void ChangeDepth(const SearchSpace& space, RandomStream& random, Levels* levels) {
  const std::vector<int64_t> present = LayersWhere(*levels, true);
  const std::vector<int64_t> absent = LayersWhere(*levels, false);
  const std::vector<DepthMove> moves = DepthMoves(space, static_cast<int64_t>(present.size()));
  if (moves.empty()) return;
  const DepthMove move = moves[random.Below(moves.size())];
  const Levels before = *levels;
  for (int64_t i : random.Sample(static_cast<int64_t>(present.size()), move.dropped)) {
    (*levels)[present[i]] = {};
  }
  for (int64_t i : random.Sample(static_cast<int64_t>(absent.size()), move.restored)) {
    (*levels)[absent[i]] = before[present[random.Below(present.size())]];
  }
}

// Which modules drew another size.
struct Changed {
  bool attention = false;
  bool mlp = false;
};

bool Redraw(const ModuleSpace& space, double probability, int strength, RandomStream& random,
            int* level) {
  if (!random.Bernoulli(probability)) return false;
  const int64_t reach = std::max<int64_t>(1, space.ratio_steps() >> strength);
  const int drawn = space.DrawLevel(*level, reach, random);
  const bool changed = drawn != *level;
  *level = drawn;
  return changed;
}

std::vector<Changed> ChangeRatios(const SearchSpace& space, double probability, int strength,
                                  RandomStream& random, Levels* levels) {
  std::vector<Changed> changed(levels->size());
  for (size_t l = 0; l < levels->size(); ++l) {
    LayerLevels& layer = (*levels)[l];
    if (!layer.present()) continue;
    changed[l].attention =
        Redraw(space.attention(), probability, strength, random, &layer.attention);
    changed[l].mlp = Redraw(space.mlp(), probability, strength, random, &layer.mlp);
  }
  return changed;
}

// Draws the masks of one mutation.
class MaskDrawer {
 public:
  MaskDrawer(const SearchSpace& space, const MutationOptions& options, int strength,
             RandomStream& random)
      : space_(space),
        probability_(options.probabilities.mask),
        overlap_(options.overlap),
        random_(random),
        strength_(strength) {}

  LayerMask DrawLayer(const LayerMask& old, const LayerLevels& old_levels,
                      const LayerLevels& levels, const Changed& changed,
                      const LayerOrders& orders) {
    const int64_t old_pairs = space_.attention().Size(old_levels.attention);
    const int64_t pairs = space_.attention().Size(levels.attention);
    LayerMask layer;
    for (size_t g = 0; g < old.attention.size(); ++g) {
      layer.attention.push_back(
          Draw({old.attention[g], old_pairs}, pairs, changed.attention, orders.attention[g]));
    }
    layer.mlp = Draw({old.mlp, space_.mlp().Size(old_levels.mlp)}, space_.mlp().Size(levels.mlp),
                     changed.mlp, orders.mlp);
    return layer;
  }

 private:
  Bitmask Draw(const SizedMask& old, int64_t size, bool changed, const UnitOrder& order) {
    if (!changed && !random_.Bernoulli(probability_)) {
      return ResizeMask(old, size, order, random_);
    }
    const int64_t most = MostExchanged(old.mask.size(), old.size, size, overlap_);
    if (most == 0) return ResizeMask(old, size, order, random_);
    const int64_t bound = std::max<int64_t>(1, most >> strength_);
    const int64_t exchanged = 1 + static_cast<int64_t>(random_.Below(bound));
    return RedrawMask(old, size, exchanged, order, random_);
  }

  const SearchSpace& space_;
  double probability_;
  double overlap_;
  RandomStream& random_;
  int strength_;
};

}  // namespace

Subnet Mutate(const SearchSpace& space, const std::vector<LayerOrders>& orders,
              const Subnet& parent, const MutationOptions& options, RandomStream& random) {
  const Levels before = space.LevelsOf(parent);
  Levels levels = before;
  if (random.Bernoulli(options.probabilities.depth)) ChangeDepth(space, random, &levels);
  const Levels restored = levels;
  const int strength = static_cast<int>(random.Below(kStrengths));
  const std::vector<Changed> changed = ChangeRatios(
      space, options.probabilities.ratio, options.whole_space ? 0 : strength, random, &levels);
  RepairLevels(space, random, &levels);

  MaskDrawer drawer(space, options, strength, random);
  Subnet child;
  child.layers.reserve(levels.size());
  for (size_t l = 0; l < levels.size(); ++l) {
    if (!levels[l].present()) {
      child.layers.push_back(EmptyLayer(space));
      continue;
    }
    const LayerMask old =
        before[l].present() ? parent.layers[l] : TopLayer(space, orders[l], restored[l]);
    child.layers.push_back(drawer.DrawLayer(old, restored[l], levels[l], changed[l], orders[l]));
  }
  return child;
}

}  // namespace espalier::search
