#include "coordinator/search/allocation_moves.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <utility>

namespace espalier::search {
namespace {

constexpr int kTries = 256;
constexpr int64_t kStepsOfModule = 24;
constexpr uint64_t kMostSteps = 4;
constexpr std::array<int, 4> kMoves = {1, 1, 2, 3};
// An exchange needs attentions with several cuts of a size, so it is the rarer move.
constexpr double kExchange = 0.25;
constexpr double kAlikeCut = 0.5;

// Draws an index by the weights exp(-(change - least) / median |change|).
size_t DrawByChange(const std::vector<double>& changes, RandomStream& random) {
  std::vector<double> sizes;
  sizes.reserve(changes.size());
  for (const double change : changes) sizes.push_back(std::abs(change));
  const auto middle = sizes.begin() + std::ssize(sizes) / 2;
  std::nth_element(sizes.begin(), middle, sizes.end());
  const double least = *std::min_element(changes.begin(), changes.end());
  std::vector<double> weights;
  double sum = 0;
  for (const double change : changes) {
    // Without a scale all that are least are alike.
    const double over = change - least;
    weights.push_back(over == 0 ? 1 : std::exp(-over / std::max(*middle, 1e-300)));
    sum += weights.back();
  }
  double left = random.Uniform() * sum;
  for (size_t i = 0; i + 1 < weights.size(); ++i) {
    left -= weights[i];
    if (left < 0) return i;
  }
  return weights.size() - 1;
}

}  // namespace

AllocationMoves::AllocationMoves(CostedModules modules, const ParameterRange& range)
    : modules_(std::move(modules)), range_(range) {
  for (const auto& options : modules_) step_ = std::max(step_, options.back().parameters);
  step_ = std::max<int64_t>(1, step_ / kStepsOfModule);
}

std::optional<Allocation> AllocationMoves::Draw(
    const Allocation& parent, int drafts, const std::function<bool(const Allocation&)>& is_new,
    RandomStream& random) const {
  std::vector<Allocation> found;
  std::vector<double> changes;
  const double before = TotalDamage(modules_, parent);
  for (int i = 0; i < kTries && std::ssize(found) < drafts; ++i) {
    std::optional<Allocation> draft = DrawDraft(parent, random);
    if (!draft || !is_new(*draft)) continue;
    changes.push_back(TotalDamage(modules_, *draft) - before);
    found.push_back(*std::move(draft));
  }
  if (found.empty()) return std::nullopt;
  return std::move(found[DrawByChange(changes, random)]);
}

std::optional<Allocation> AllocationMoves::DrawDraft(const Allocation& parent,
                                                     RandomStream& random) const {
  Draft draft{.allocation = parent,
              .kept = std::vector<bool>(modules_.size(), false),
              .room = range_.high - TotalParameters(modules_, parent)};
  const int moves = kMoves[random.Below(kMoves.size())];
  for (int i = 0; i < moves; ++i) {
    if (random.Bernoulli(kExchange) && Exchange(draft, random)) continue;
    if (!Transfer(draft, random)) return std::nullopt;
  }
  TopUp(modules_, range_.high, draft.kept, draft.allocation);
  TopUp(modules_, range_.high, {}, draft.allocation);  // better back a little than empty
  const int64_t something = TotalParameters(modules_, draft.allocation);
  if (something == 0 || !range_.Contains(something)) {
    return std::nullopt;
  }
  return std::move(draft.allocation);
}

// False, and nothing is done, when the attention that was drawn has no such cut.
bool AllocationMoves::Exchange(Draft& draft, RandomStream& random) const {
  const size_t module = 2 * random.Below(modules_.size() / 2);
  const int32_t now = draft.allocation[module];
  const int64_t parameters = modules_[module][now].parameters;
  const std::vector<int32_t> cuts = AlikeCuts(module, now, 1, parameters + draft.room);
  if (cuts.empty()) return false;
  Set(module, cuts[random.Below(cuts.size())], draft);
  draft.kept[module] = true;
  return true;
}

// False when the modules that were drawn cannot be made smaller or larger.
bool AllocationMoves::Transfer(Draft& draft, RandomStream& random) const {
  const size_t from = random.Below(modules_.size());
  const int64_t steps = 1 + static_cast<int64_t>(random.Below(kMostSteps));
  const int64_t before = modules_[from][draft.allocation[from]].parameters;
  const std::optional<int32_t> smaller = Near(from, 0, before - 1, before - steps * step_, random);
  if (!smaller) return false;
  Set(from, *smaller, draft);
  draft.kept[from] = true;
  const int64_t freed = before - modules_[from][*smaller].parameters;
  size_t to = random.Below(modules_.size() - 1);
  if (to >= from) ++to;
  const int64_t now = modules_[to][draft.allocation[to]].parameters;
  // A module that an earlier move made smaller would give and take.
  if (draft.kept[to]) return false;
  const std::optional<int32_t> larger = Near(to, now + 1, now + draft.room, now + freed, random);
  if (!larger) return false;
  Set(to, *larger, draft);
  return true;
}

// The option with parameters in [low, high] that is nearest to the target, or, of an attention, a
// cut alike. Of several as near the first: the least error.
std::optional<int32_t> AllocationMoves::Near(size_t module, int64_t low, int64_t high,
                                             int64_t target, RandomStream& random) const {
  int32_t nearest = -1;
  int64_t least = std::numeric_limits<int64_t>::max();
  for (int32_t i = 0; i < std::ssize(modules_[module]); ++i) {
    const int64_t parameters = modules_[module][i].parameters;
    if (parameters < low || parameters > high || std::abs(parameters - target) >= least) continue;
    nearest = i;
    least = std::abs(parameters - target);
  }
  if (nearest < 0) return std::nullopt;
  if (!ModuleTable::IsAttention(module) || !random.Bernoulli(kAlikeCut)) return nearest;
  const std::vector<int32_t> cuts = AlikeCuts(module, nearest, low, high);
  return cuts.empty() ? nearest : cuts[random.Below(cuts.size())];
}

// Cuts of a module that has been cut, within half a step of the size of `option`, without it.
std::vector<int32_t> AllocationMoves::AlikeCuts(size_t module, int32_t option, int64_t low,
                                                int64_t high) const {
  const std::vector<CostedOption>& options = modules_[module];
  std::vector<int32_t> cuts;
  const auto last = static_cast<int32_t>(options.size()) - 1;
  if (option == 0 || option == last) return cuts;
  for (int32_t i = 1; i < last; ++i) {
    const int64_t parameters = options[i].parameters;
    const bool alike = 2 * std::abs(parameters - options[option].parameters) <= step_;
    if (alike && i != option && parameters >= low && parameters <= high) cuts.push_back(i);
  }
  return cuts;
}

void AllocationMoves::Set(size_t module, int32_t option, Draft& draft) const {
  draft.room +=
      modules_[module][draft.allocation[module]].parameters - modules_[module][option].parameters;
  draft.allocation[module] = option;
}

}  // namespace espalier::search
