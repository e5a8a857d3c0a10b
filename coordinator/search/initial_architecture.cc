#include "coordinator/search/initial_architecture.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>

#include "common/rng.h"
#include "coordinator/search/repair.h"
#include "coordinator/search/unit_choice.h"

namespace espalier::search {
namespace {

// The share of the units that stays when all modules of `layers` layers shrink alike.
double EqualRatio(const SearchSpace& space, int64_t layers) {
  const int64_t full = layers * (space.attention().Parameters(space.attention().top_level()) +
                                 space.mlp().Parameters(space.mlp().top_level()));
  return static_cast<double>(space.ModuleRange(layers).high) / static_cast<double>(full);
}

std::vector<int64_t> PresentAtFirst(int64_t num_layers, int64_t count) {
  std::vector<int64_t> layers(num_layers);
  std::iota(layers.begin(), layers.end(), 0);
  const int64_t dropped = num_layers - count;
  const int64_t last_kept = std::max<int64_t>(num_layers - 1 - dropped, 0);
  layers.erase(layers.begin() + last_kept, layers.begin() + last_kept + dropped);
  return layers;
}

// `steps` MLP steps over the present layers as evenly as they go.
Levels SpreadEvenly(const std::vector<int64_t>& present, int64_t num_layers, int attention,
                    int64_t steps) {
  const auto count = static_cast<int64_t>(present.size());
  Levels levels(num_layers);
  for (int64_t i = 0; i < count; ++i) {
    levels[present[i]] = {.attention = attention,
                          .mlp = static_cast<int>(steps / count + (i < steps % count ? 1 : 0))};
  }
  return levels;
}

// The most MLP steps that leave the subnet within its largest size.
Levels LargestFitting(const SearchSpace& space, const std::vector<int64_t>& present,
                      int attention) {
  int64_t fits = 0;
  int64_t too_many = static_cast<int64_t>(present.size()) * space.mlp().top_level() + 1;
  while (too_many - fits > 1) {
    const int64_t middle = (fits + too_many) / 2;
    const Levels levels = SpreadEvenly(present, space.num_layers(), attention, middle);
    (space.Parameters(levels) <= space.range().high ? fits : too_many) = middle;
  }
  return SpreadEvenly(present, space.num_layers(), attention, fits);
}

// All levels, the nearest to the ratio first, the higher of two.
std::vector<int> ByDistance(const ModuleSpace& space, double ratio) {
  std::vector<int> levels(space.top_level() + 1);
  std::iota(levels.rbegin(), levels.rend(), 0);
  const double target = ratio * static_cast<double>(space.units());
  std::stable_sort(levels.begin(), levels.end(), [&](int a, int b) {
    return std::abs(static_cast<double>(space.Size(a)) - target) <
           std::abs(static_cast<double>(space.Size(b)) - target);
  });
  return levels;
}

}  // namespace

Levels InitialLevels(const SearchSpace& space, uint64_t seed) {
  const int64_t layers = space.MostLayers();
  const std::vector<int64_t> present = PresentAtFirst(space.num_layers(), layers);
  const std::vector<int> attention_levels =
      ByDistance(space.attention(), EqualRatio(space, layers));
  for (int attention : attention_levels) {
    Levels levels = LargestFitting(space, present, attention);
    if (space.range().Contains(space.Parameters(levels))) return levels;
  }
  Levels levels = LargestFitting(space, present, attention_levels.front());
  RandomStream random(seed, RandomPurpose::kMutation, 0, 0);  // slot 0 draws nothing else
  RepairLevels(space, random, &levels);
  return levels;
}

LayerMask EmptyLayer(const SearchSpace& space) {
  return {.attention =
              std::vector<Bitmask>(space.attention().masks(), Bitmask(space.attention().units())),
          .mlp = Bitmask(space.mlp().units())};
}

LayerMask TopLayer(const SearchSpace& space, const LayerOrders& orders, const LayerLevels& levels) {
  LayerMask layer;
  for (const UnitOrder& group : orders.attention) {
    layer.attention.push_back(TopUnits(group, space.attention().Size(levels.attention)));
  }
  layer.mlp = TopUnits(orders.mlp, space.mlp().Size(levels.mlp));
  return layer;
}

Subnet TopSubnet(const SearchSpace& space, const std::vector<LayerOrders>& orders,
                 const Levels& levels) {
  Subnet subnet;
  for (size_t l = 0; l < levels.size(); ++l) {
    subnet.layers.push_back(levels[l].present() ? TopLayer(space, orders[l], levels[l])
                                                : EmptyLayer(space));
  }
  return subnet;
}

}  // namespace espalier::search
