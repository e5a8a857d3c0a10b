#include "coordinator/search/allocation.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

namespace espalier::search {
namespace {

constexpr int64_t kBins = 8192;
constexpr double kUnreached = std::numeric_limits<double>::infinity();

// An option as the table sees it.
struct BinnedOption {
  int64_t bins = 0;
  double damage = 0;
  int32_t option = 0;
};

// Totals in units of parameters.
struct Binning {
  int64_t unit = 1;
  bool exact = true;

  // To the nearest: rounding errors of many modules then cancel, where rounding up would waste half
  // a unit for each. Nothing but none of a module is for free, or the smallest total might not fit.
  int64_t Round(int64_t parameters) const {
    if (parameters == 0) return 0;
    return std::max<int64_t>(1, (parameters + unit / 2) / unit);
  }
};

Binning ChooseBinning(const CostedModules& modules, int64_t most) {
  int64_t divisor = 0;
  for (const auto& options : modules) {
    for (const CostedOption& option : options) divisor = std::gcd(divisor, option.parameters);
  }
  divisor = std::max<int64_t>(divisor, 1);
  if (most / divisor <= kBins) return {.unit = divisor, .exact = true};
  return {.unit = (most + kBins - 1) / kBins, .exact = false};
}

// The least damage of each rounded size; of several, the one with the fewest parameters.
std::vector<BinnedOption> BinOptions(const std::vector<CostedOption>& options, int64_t most,
                                     const Binning& binning) {
  std::vector<BinnedOption> binned;
  for (size_t i = 0; i < options.size() && options[i].parameters <= most; ++i) {
    const BinnedOption next{.bins = binning.Round(options[i].parameters),
                            .damage = options[i].damage,
                            .option = static_cast<int32_t>(i)};
    if (binned.empty() || binned.back().bins < next.bins) {
      binned.push_back(next);
    } else if (next.damage < binned.back().damage) {
      binned.back() = next;
    }
  }
  return binned;
}

// Those that no smaller option is as good as.
void KeepFront(std::vector<BinnedOption>& options) {
  double least = kUnreached;
  std::erase_if(options, [&](const BinnedOption& option) {
    if (option.damage >= least) return true;
    least = option.damage;
    return false;
  });
}

class DamageTable {
 public:
  DamageTable(const CostedModules& modules, int64_t most, bool front_only)
      : binning_(ChooseBinning(modules, most)) {
    for (const auto& options : modules) {
      options_.push_back(BinOptions(options, most, binning_));
      if (front_only) KeepFront(options_.back());
    }
    // A total that fits may have been rounded up, by half a unit a module or to a whole one.
    const int64_t slack = binning_.exact ? 0 : std::ssize(modules);
    size_ = most / binning_.unit + slack + 1;
    least_.assign(size_, kUnreached);
    least_[0] = 0;
    for (const auto& options : options_) AddModule(options);
  }

  // Totals in bins that some allocation has, the least damage first, ties to the larger.
  std::vector<int64_t> Totals() const {
    std::vector<int64_t> totals;
    for (int64_t b = size_ - 1; b >= 0; --b) {
      if (least_[b] < kUnreached) totals.push_back(b);
    }
    std::stable_sort(totals.begin(), totals.end(),
                     [&](int64_t a, int64_t b) { return least_[a] < least_[b]; });
    return totals;
  }

  Allocation Trace(int64_t total) const {
    Allocation allocation(options_.size());
    for (size_t m = options_.size(); m-- > 0;) {
      const BinnedOption& option = options_[m][picks_[m][total]];
      allocation[m] = option.option;
      total -= option.bins;
    }
    return allocation;
  }

 private:
  void AddModule(const std::vector<BinnedOption>& options) {
    std::vector<double> next(size_, kUnreached);
    std::vector<uint16_t> picks(size_, 0);
    for (size_t i = 0; i < options.size(); ++i) {
      const auto [bins, damage, option] = options[i];
      const int64_t end = std::min(size_, reach_ + bins + 1);
      for (int64_t b = bins; b < end; ++b) {
        const double sum = least_[b - bins] + damage;
        if (sum < next[b]) {
          next[b] = sum;
          picks[b] = static_cast<uint16_t>(i);
        }
      }
    }
    reach_ = std::min(size_ - 1, reach_ + options.back().bins);
    least_ = std::move(next);
    picks_.push_back(std::move(picks));
  }

  const Binning binning_;
  std::vector<std::vector<BinnedOption>> options_;  // [M]
  int64_t size_ = 0;
  int64_t reach_ = 0;                         // no total is larger
  std::vector<double> least_;                 // by total, over the modules so far
  std::vector<std::vector<uint16_t>> picks_;  // [M], by total: which of the module's options
};

// The first total, by damage, that lies in the range; then topped up.
std::optional<Allocation> Solve(const CostedModules& modules, const ParameterRange& range,
                                bool front_only) {
  const bool too_large = std::any_of(modules.begin(), modules.end(), [&](const auto& options) {
    return options.front().parameters > range.high;
  });
  if (too_large) return std::nullopt;
  const DamageTable table(modules, range.high, front_only);
  for (const int64_t total : table.Totals()) {
    Allocation allocation = table.Trace(total);
    const int64_t parameters = TotalParameters(modules, allocation);
    if (!range.Contains(parameters) || parameters == 0) continue;
    TopUp(modules, range.high, {}, allocation);
    return allocation;
  }
  return std::nullopt;
}

}  // namespace

int64_t TotalParameters(const CostedModules& modules, const Allocation& allocation) {
  int64_t total = 0;
  for (size_t m = 0; m < modules.size(); ++m) total += modules[m][allocation[m]].parameters;
  return total;
}

double TotalDamage(const CostedModules& modules, const Allocation& allocation) {
  double total = 0;
  for (size_t m = 0; m < modules.size(); ++m) total += modules[m][allocation[m]].damage;
  return total;
}

std::optional<Allocation> LeastDamage(const CostedModules& modules, const ParameterRange& range) {
  if (range.high < 0) return std::nullopt;
  // Options that are larger without less damage are of use only where the best of the others is
  // smaller than the range.
  std::optional<Allocation> allocation =
      Solve(modules, {.low = 0, .high = range.high}, /*front_only=*/true);
  if (allocation && TotalParameters(modules, *allocation) >= range.low) return allocation;
  return Solve(modules, range, /*front_only=*/false);
}

std::optional<Allocation> Fullest(const CostedModules& modules, int64_t most) {
  if (most < 0) return std::nullopt;
  CostedModules costed = modules;
  for (auto& options : costed) {
    for (CostedOption& option : options) option.damage = -static_cast<double>(option.parameters);
  }
  return Solve(costed, {.low = 0, .high = most}, /*front_only=*/false);
}

void TopUp(const CostedModules& modules, int64_t most, const std::vector<bool>& kept,
           Allocation& allocation) {
  int64_t room = most - TotalParameters(modules, allocation);
  while (room > 0) {
    size_t best_module = 0;
    int32_t best_option = -1;
    std::pair<double, int64_t> best = {0, 0};  // damage less per parameter, parameters more
    for (size_t m = 0; m < modules.size(); ++m) {
      if (!kept.empty() && kept[m]) continue;
      const CostedOption& now = modules[m][allocation[m]];
      for (int32_t i = allocation[m] + 1; i < std::ssize(modules[m]); ++i) {
        const int64_t more = modules[m][i].parameters - now.parameters;
        if (more > room) break;
        const double less = now.damage - modules[m][i].damage;
        if (more == 0 || less <= 0) continue;
        const std::pair<double, int64_t> gain = {less / static_cast<double>(more), more};
        if (gain <= best) continue;
        best = gain;
        best_module = m;
        best_option = i;
      }
    }
    if (best_option < 0) return;
    room -= best.second;
    allocation[best_module] = best_option;
  }
}

}  // namespace espalier::search
