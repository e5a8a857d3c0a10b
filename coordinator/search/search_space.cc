#include "coordinator/search/search_space.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace espalier::search {
namespace {

// The paper draws attention ratios in steps of .01 and MLP ratios in steps of .05 (section 4.1).
constexpr int64_t kAttentionRatioGrid = 100;
constexpr int64_t kMlpRatioGrid = 20;

absl::Status CheckRatio(const char* key, double value) {
  if (value >= 0 && value <= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(key, " is ", value, "; it must be between 0 and 1"));
}

absl::Status CheckPositive(const char* key, int64_t value, int64_t most) {
  if (value >= 1 && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(key, " is ", value, "; it must be between 1 and ", most));
}

absl::Status CheckSpec(const ModelConfig& config, const JobSpec& spec) {
  constexpr int64_t kAny = std::numeric_limits<int32_t>::max();
  ESPALIER_RETURN_IF_ERROR(CheckRatio("target.ratio", spec.ratio));
  ESPALIER_RETURN_IF_ERROR(CheckRatio("target.tolerance", spec.tolerance));
  ESPALIER_RETURN_IF_ERROR(
      CheckRatio("search.attention_min_ratio", spec.search.attention_min_ratio));
  ESPALIER_RETURN_IF_ERROR(CheckRatio("search.mlp_min_ratio", spec.search.mlp_min_ratio));
  ESPALIER_RETURN_IF_ERROR(CheckRatio("search.mask_overlap", spec.search.mask_overlap));
  ESPALIER_RETURN_IF_ERROR(CheckPositive("target.align.mlp", spec.align_mlp, kAny));
  ESPALIER_RETURN_IF_ERROR(CheckPositive("target.align.head_dim", spec.align_head_dim, kAny));
  return CheckPositive("search.min_layers", spec.search.min_layers, config.num_layers);
}

ModuleSpace AttentionSpace(const ModelConfig& config, const JobSpec& spec) {
  return ModuleSpace({.masks = config.num_kv_heads,
                      .units = config.pairs(),
                      .step = spec.align_head_dim / std::gcd<int64_t>(spec.align_head_dim, 2),
                      .min_ratio = spec.search.attention_min_ratio,
                      .ratio_grid = kAttentionRatioGrid,
                      .parameters_per_unit = ParametersPerPair(config)});
}

ModuleSpace MlpSpace(const ModelConfig& config, const JobSpec& spec) {
  return ModuleSpace({.masks = 1,
                      .units = config.intermediate_size,
                      .step = spec.align_mlp,
                      .min_ratio = spec.search.mlp_min_ratio,
                      .ratio_grid = kMlpRatioGrid,
                      .parameters_per_unit = ParametersPerChannel(config)});
}

}  // namespace

// Corrected by single steps, since a product may round across the boundary: what counts is the
// ratio as a double.
ParameterRange LegalRange(const JobSpec& spec, int64_t dense) {
  const auto ratio = [&](int64_t n) { return static_cast<double>(n) / static_cast<double>(dense); };
  const double highest = spec.ratio;
  const double lowest = spec.ratio - spec.tolerance;
  ParameterRange range{.low = static_cast<int64_t>(lowest * static_cast<double>(dense)),
                       .high = static_cast<int64_t>(highest * static_cast<double>(dense))};
  while (ratio(range.high) > highest) --range.high;
  while (ratio(range.high + 1) <= highest) ++range.high;
  while (ratio(range.low) < lowest) ++range.low;
  while (ratio(range.low - 1) >= lowest) --range.low;
  return range;
}

int64_t PresentLayers(const Levels& levels) {
  return std::count_if(levels.begin(), levels.end(),
                       [](const LayerLevels& layer) { return layer.present(); });
}

std::vector<int64_t> LayersWhere(const Levels& levels, bool present) {
  std::vector<int64_t> layers;
  for (size_t l = 0; l < levels.size(); ++l) {
    if (levels[l].present() == present) layers.push_back(static_cast<int64_t>(l));
  }
  return layers;
}

SearchSpace::SearchSpace(const ModelConfig& config, const JobSpec& spec)
    : num_layers_(config.num_layers),
      min_layers_(spec.search.min_layers),
      dense_parameters_(DenseParameters(config)),
      layer_parameters_(2 * config.hidden_size),
      range_(LegalRange(spec, dense_parameters_)),
      attention_(AttentionSpace(config, spec)),
      mlp_(MlpSpace(config, spec)),
      planner_(attention_, mlp_) {
  const int64_t per_layer = layer_parameters_ + attention_.Parameters(attention_.top_level()) +
                            mlp_.Parameters(mlp_.top_level());
  fixed_parameters_ = dense_parameters_ - num_layers_ * per_layer;
  reachable_.assign(num_layers_ + 1, false);
  for (int64_t layers = min_layers_; layers <= num_layers_; ++layers) {
    const ParameterRange range = ModuleRange(layers);
    const std::optional<int64_t> total = planner_.LargestTotal(layers, range);
    reachable_[layers] = total.has_value() && range.Contains(*total);
  }
}

absl::StatusOr<std::unique_ptr<const SearchSpace>> SearchSpace::Create(const ModelConfig& config,
                                                                       const JobSpec& spec) {
  ESPALIER_RETURN_IF_ERROR(CheckSpec(config, spec));
  std::unique_ptr<const SearchSpace> space(new SearchSpace(config, spec));
  ESPALIER_RETURN_IF_ERROR(space->CheckReachable(spec));
  return space;
}

absl::Status SearchSpace::CheckReachable(const JobSpec& spec) const {
  if (MostLayers() <= num_layers_) return absl::OkStatus();
  std::optional<int64_t> nearest;
  for (int64_t layers = min_layers_; layers <= num_layers_; ++layers) {
    const std::optional<int64_t> total = planner_.LargestTotal(layers, ModuleRange(layers));
    if (!total) continue;
    const int64_t all = *total + fixed_parameters_ + layers * layer_parameters_;
    nearest = std::max(nearest.value_or(all), all);
  }
  if (nearest) return TooNarrowWindow(spec, *nearest);
  return TooSmallTarget(
      spec, fixed_parameters_ +
                min_layers_ * (layer_parameters_ + attention_.Parameters(0) + mlp_.Parameters(0)));
}

absl::Status SearchSpace::TooSmallTarget(const JobSpec& spec, int64_t smallest) const {
  return absl::InvalidArgumentError(absl::StrCat(
      "target.ratio ", spec.ratio, ": the smallest subnet of the search space has ratio ",
      Ratio(smallest), " (", min_layers_, " layers, ", attention_.Size(0), " of ",
      attention_.units(), " pairs a head, ", mlp_.Size(0), " of ", mlp_.units(),
      " MLP channels); raise target.ratio, or lower search.min_layers, "
      "search.attention_min_ratio or search.mlp_min_ratio"));
}

absl::Status SearchSpace::TooNarrowWindow(const JobSpec& spec, int64_t nearest) const {
  // Rounded up, so that the value that is named does suffice.
  const double needed = std::ceil((spec.ratio - Ratio(nearest)) * 1e6) / 1e6;
  return absl::InvalidArgumentError(absl::StrCat(
      "target.tolerance ", spec.tolerance,
      " is finer than the steps of the sizes: no subnet of the ", "search space has a ratio in [",
      spec.ratio - spec.tolerance, ", ", spec.ratio, "]; the nearest below has ", Ratio(nearest),
      ", one step of an MLP (target.align.mlp ", spec.align_mlp, ") is ",
      Ratio(mlp_.StepParameters()),
      " of the parameters and one of an attention (target.align.head_dim ", spec.align_head_dim,
      ") ", Ratio(attention_.StepParameters()), "; raise target.tolerance to ", needed,
      ", or lower target.align.mlp or target.align.head_dim"));
}

double SearchSpace::Ratio(int64_t parameters) const {
  return static_cast<double>(parameters) / static_cast<double>(dense_parameters_);
}

ParameterRange SearchSpace::ModuleRange(int64_t layers) const {
  const int64_t outside = fixed_parameters_ + layers * layer_parameters_;
  return {.low = range_.low - outside, .high = range_.high - outside};
}

int64_t SearchSpace::Parameters(const Levels& levels) const {
  int64_t total = fixed_parameters_;
  for (const LayerLevels& layer : levels) {
    if (!layer.present()) continue;
    total +=
        layer_parameters_ + attention_.Parameters(layer.attention) + mlp_.Parameters(layer.mlp);
  }
  return total;
}

bool SearchSpace::Reachable(int64_t layers) const {
  return layers >= 0 && layers <= num_layers_ && reachable_[layers];
}

int64_t SearchSpace::NextBelow(int64_t layers) const {
  for (int64_t n = layers - 1; n >= min_layers_; --n) {
    if (Reachable(n)) return n;
  }
  return layers;
}

int64_t SearchSpace::NextAbove(int64_t layers) const {
  for (int64_t n = layers + 1; n <= num_layers_; ++n) {
    if (Reachable(n)) return n;
  }
  return layers;
}

Levels SearchSpace::LevelsOf(const Subnet& subnet) const {
  Levels levels(subnet.layers.size());
  for (size_t l = 0; l < levels.size(); ++l) {
    const LayerMask& layer = subnet.layers[l];
    if (!layer.HasMlp()) continue;
    levels[l] = {.attention = attention_.LevelOf(layer.attention.front().Count()),
                 .mlp = mlp_.LevelOf(layer.mlp.Count())};
  }
  return levels;
}

}  // namespace espalier::search
