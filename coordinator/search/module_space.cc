#include "coordinator/search/module_space.h"

#include <algorithm>
#include <cmath>

namespace espalier::search {
namespace {

// Absorbs the rounding of products such as 0.6 * 20, far below one unit.
constexpr double kSlack = 1e-9;

}  // namespace

ModuleSpace::ModuleSpace(const Options& options) : options_(options) {
  const int64_t lowest = std::max<int64_t>(
      1, static_cast<int64_t>(
             std::ceil(options.min_ratio * static_cast<double>(options.units) - kSlack)));
  const int64_t first = (lowest + options.step - 1) / options.step * options.step;
  for (int64_t size = first; size < options.units; size += options.step) sizes_.push_back(size);
  sizes_.push_back(options.units);
  has_short_step_ = sizes_.size() > 1 && options.units - sizes_[sizes_.size() - 2] < options.step;
}

int ModuleSpace::LevelOf(int64_t size) const {
  const auto above = std::upper_bound(sizes_.begin(), sizes_.end(), size);
  return above == sizes_.begin() ? 0 : static_cast<int>(above - sizes_.begin()) - 1;
}

int ModuleSpace::NearestLevel(double ratio) const {
  const double size = ratio * static_cast<double>(options_.units);
  const auto above = std::lower_bound(sizes_.begin(), sizes_.end(), size - kSlack);
  if (above == sizes_.begin()) return 0;
  if (above == sizes_.end()) return top_level();
  const int level = static_cast<int>(above - sizes_.begin());
  const double up = static_cast<double>(sizes_[level]) - size;
  const double down = size - static_cast<double>(sizes_[level - 1]);
  return up <= down + kSlack ? level : level - 1;
}

int64_t ModuleSpace::ratio_steps() const {
  const double below_full =
      std::floor((1 - options_.min_ratio) * static_cast<double>(options_.ratio_grid) + kSlack);
  return std::min(static_cast<int64_t>(below_full), options_.ratio_grid - 1);
}

int ModuleSpace::DrawLevel(int level, int64_t reach, RandomStream& random) const {
  const double grid = static_cast<double>(options_.ratio_grid);
  // Ratios are counted in grid steps below 1.
  const int64_t lowest = ratio_steps();
  const double share = static_cast<double>(sizes_[level]) / static_cast<double>(options_.units);
  const int64_t current = std::clamp<int64_t>(std::llround((1 - share) * grid), 0, lowest);
  const int64_t first = std::max<int64_t>(0, current - reach);
  const int64_t last = std::min(lowest, current + reach);
  const auto drawn = first + static_cast<int64_t>(random.Below(last - first + 1));
  return NearestLevel(1 - static_cast<double>(drawn) / grid);
}

int64_t ModuleSpace::ShortStepParameters() const {
  return has_short_step_ ? Parameters(top_level()) - Parameters(top_level() - 1) : 0;
}

}  // namespace espalier::search
